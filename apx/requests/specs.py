"""The spec under which a queued request runs: that of the release which admitted it, live or not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from apx.catalog.model import ProductSpec
from apx.release.load import Loader
from apx.requests.ports import ProductBounds

_MOST_OLDER = 1_000


class ReleasedSpecs:
    """Specs by release, and how much of each live product may be in flight."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._live: Mapping[str, ProductSpec] = {}
        self._older: OrderedDict[str, ProductSpec] = OrderedDict()
        self._bounds: Sequence[ProductBounds] = ()

    def serve(self, specs: Mapping[str, ProductSpec], digests: Mapping[str, str]) -> None:
        """Take over what is live now: specs and release digests by product."""
        self._live = {digests[product]: spec for product, spec in specs.items()}
        self._bounds = tuple(
            ProductBounds(product, spec.backend.concurrency, spec.async_.concurrency_per_org)
            for product, spec in specs.items()  # sync ones too: what was queued before a change still runs
        )

    def bounds(self) -> Sequence[ProductBounds]:
        """Return the bounds of the live products; the same object until they change."""
        return self._bounds

    async def of(self, product: str, digest: str) -> ProductSpec:
        """Return a release's spec, fetched and verified where it is not live.

        Raises `ReleaseRejected`, `NotFound` or `Unavailable`.
        """
        spec = self._live.get(digest) or self._older.get(digest)
        if spec is None:
            spec = (await self._loader.manifest(digest, product)).spec
            self._older[digest] = spec
            if len(self._older) > _MOST_OLDER:
                self._older.popitem(last=False)
        return spec
