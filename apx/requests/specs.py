"""The spec under which a queued request runs: that of the release which admitted it, live or not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from apx.catalog.model import OnAbort, ProductSpec
from apx.release.load import Loader
from apx.requests.ports import ProductBounds
from apx.rollout.arms import Arms

_MOST_OLDER = 1_000


class ReleasedSpecs:
    """Specs by release, how much of each live product may be in flight, and what becomes of aborted releases."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._serving: Mapping[str, Arms[ProductSpec]] = {}
        self._live: dict[str, ProductSpec] = {}
        self._older: OrderedDict[str, ProductSpec] = OrderedDict()
        self._bounds: Sequence[ProductBounds] = ()

    def serve(self, serving: Mapping[str, Arms[ProductSpec]]) -> None:
        """Take over what is live now."""
        self._serving = serving
        self._live = {digest: spec for arms in serving.values() for digest, spec in arms.prepared().items()}
        self._bounds = tuple(
            ProductBounds(product, arms.stable.backend.concurrency, arms.stable.async_.concurrency_per_org)
            for product, arms in serving.items()  # sync ones too: what was queued before a change still runs
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

    def after_abort(self, product: str, digest: str) -> tuple[OnAbort, str]:
        """Return what becomes of a request that `digest` had admitted, and the release that says so.

        `finish` for every release that was not taken back; else what the product's stable release wants.
        """
        arms = self._serving.get(product)
        if arms is None or digest == arms.stable_digest or arms.active.was_aborted(digest) is None:
            return "finish", digest
        return arms.stable.rollout.on_abort, arms.stable_digest
