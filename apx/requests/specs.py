"""The spec under which a queued request runs: that of the release which admitted it, live or not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from apx.admission.routes import Match, RouteTree
from apx.catalog.model import ProductSpec
from apx.release.load import Loader
from apx.requests.execution_rules import Rules
from apx.requests.model import Envelope, Problem, State
from apx.requests.ports import ProductBounds
from apx.rollout.arms import Arms

_MOST_OLDER = 1_000
_CANCELLED = Problem(code="release-taken-back", detail="The release that accepted this request was taken back.")
_NO_ROUTE = Problem(
    code="release-taken-back",
    detail="The release that accepted this request was taken back, and the one that serves has no such route.",
)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How one queued request is carried out."""

    spec: ProductSpec
    envelope: Envelope
    """Under the release that it is carried out by."""
    ended: tuple[State, Problem] | None = None
    """It is not carried out, but ends so."""
    rules: Rules | None = None
    """Of an internal product, in place of those of the spec."""


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

    async def terms(self, envelope: Envelope) -> Terms:
        """Return how a queued request is carried out. Raises as `of` does.

        The release that admitted it says so, also when it serves no more. When it was taken back, the stable one says
        what becomes of it (`rollout.on_abort`).
        """
        arms = self._serving.get(envelope.product)
        own = envelope.release
        if arms is None or own == arms.stable_digest or arms.active.was_aborted(own) is None:
            return Terms(spec=await self.of(envelope.product, own), envelope=envelope)
        match arms.stable.rollout.on_abort:
            case "readmit":
                return _readmitted(envelope, arms)
            case "cancel":
                return Terms(spec=arms.stable, envelope=envelope, ended=("cancelled", _CANCELLED))
        return Terms(spec=await self.of(envelope.product, own), envelope=envelope)


def _readmitted(envelope: Envelope, arms: Arms[ProductSpec]) -> Terms:
    """Put a request under the stable release: its route, its timeout, its backend. What its policy had said stays."""
    spec = arms.stable
    match = RouteTree(spec.routes).match(envelope.method, envelope.path)
    if not isinstance(match, Match) or len(envelope.body) > match.route.max_body_bytes:
        return Terms(spec=spec, envelope=envelope, ended=("failed", _NO_ROUTE))
    timeout_s = match.route.timeout_s or spec.backend.timeout_s
    moved = msgspec.structs.replace(envelope, release=arms.stable_digest, timeout_s=timeout_s)
    return Terms(spec=spec, envelope=moved)
