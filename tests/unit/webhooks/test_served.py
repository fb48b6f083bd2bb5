from __future__ import annotations

from collections.abc import Sequence

from apx.bootstrap.served import Served
from apx.requests.model import Envelope
from apx.requests.ports import ProductBounds
from apx.requests.specs import ReleasedSpecs, Terms
from apx.webhooks.forward import delivery
from apx.webhooks.terms import BOUNDS
from tests.unit.webhooks.examples import Telling, webhook
from tests.unit.worker.world import envelope_for, spec_for


class Products(ReleasedSpecs):
    """What live releases have, by hand."""

    def __init__(self) -> None:
        self.all: Sequence[ProductBounds] = (ProductBounds("orders", 1, 1),)

    def bounds(self) -> Sequence[ProductBounds]:
        return self.all

    async def terms(self, envelope: Envelope) -> Terms:
        return Terms(spec=spec_for("https://backend.example"), envelope=envelope)


async def test_deliveries_are_served_beside_the_live_products_under_bounds_that_stay_the_same_object() -> None:
    products = Products()
    served = Served(products, Telling().deliveries)
    first = served.bounds()
    assert list(first) == [ProductBounds("orders", 1, 1), BOUNDS]
    assert served.bounds() is first
    products.all = ()
    assert list(served.bounds()) == [BOUNDS]


async def test_each_is_asked_for_its_own() -> None:
    telling = Telling()
    await telling.store.add(webhook())
    served = Served(Products(), telling.deliveries)
    assert (await served.terms(envelope_for())).spec.backend.url == "https://backend.example"
    terms = await served.terms(delivery(telling.ended(), webhook()))
    assert terms.spec.backend.url == "https://hooks.example/apx"
    assert terms.rules is not None
