"""What workers serve: the products that live releases have, and deliveries to webhooks beside them."""

from __future__ import annotations

from collections.abc import Sequence

from apx.requests.model import Envelope
from apx.requests.ports import ProductBounds
from apx.requests.specs import ReleasedSpecs, Terms
from apx.webhooks.model import PRODUCT
from apx.webhooks.terms import BOUNDS, Deliveries


class Served:
    """Asks whoever knows a product."""

    def __init__(self, specs: ReleasedSpecs, deliveries: Deliveries) -> None:
        self._specs = specs
        self._deliveries = deliveries
        self._of: Sequence[ProductBounds] | None = None
        self._bounds: Sequence[ProductBounds] = ()

    def bounds(self) -> Sequence[ProductBounds]:
        """Return the bounds of all that is served; the same object until they change."""
        products = self._specs.bounds()
        if products is not self._of:
            self._of, self._bounds = products, (*products, BOUNDS)
        return self._bounds

    async def terms(self, envelope: Envelope) -> Terms:
        """Return how a queued request is carried out. Raises `ApxError`."""
        if envelope.product == PRODUCT:
            return await self._deliveries.terms(envelope)
        return await self._specs.terms(envelope)
