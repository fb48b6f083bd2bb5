"""Keep a process's releases as the store says, and keep serving when the store or a release is bad.

Every process that needs releases (edge, router, worker) follows the same way: what is new is loaded, verified and
prepared beside what serves; only then does it take its place. What fails stays out, and the last known good goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog

from apx.clock import Clock
from apx.errors import ApxError
from apx.release.digest import short
from apx.release.load import Loader
from apx.release.model import Release
from apx.rollout.active import Active, RolloutStore, Snapshot
from apx.rollout.arms import Arms
from apx.rollout.model import Arm
from apx.telemetry import metrics

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_RETRY_S = 1.0


class Refusal(msgspec.Struct, frozen=True):
    """Why a release that should be live is not."""

    digest: str
    reason: str


class Follower(Generic[T]):
    """The releases of this process, each prepared by `prepare` (and put away by `retire` once no arm serves it).

    `serving` maps product → its arms and is replaced whole, never changed: who holds it sees one state. `refused` maps
    product → why a release of it is not served; in the place of a stable one, what a process of this kind served last
    serves, in the place of a candidate the stable release. `settled` is set once the first snapshot was worked through,
    from the store or from the last known good.
    """

    def __init__(
        self,
        store: RolloutStore,
        loader: Loader,
        *,
        prepare: Callable[[Release], T],
        retire: Callable[[T], None] = lambda _: None,
        last_known_good: Path,
        clock: Clock,
    ) -> None:
        self._store = store
        self._loader = loader
        self._prepare = prepare
        self._retire = retire
        self._path = last_known_good
        self._clock = clock
        self._contact: float | None = None
        self.revision = -1
        self.serving: dict[str, Arms[T]] = {}
        self.refused: dict[str, Refusal] = {}
        self.settled = asyncio.Event()

    @property
    def age_s(self) -> float:
        """Return the seconds since the store last answered; infinite when it never did."""
        return float("inf") if self._contact is None else self._clock.monotonic() - self._contact

    async def run(self) -> None:
        """Follow until cancelled."""
        async for _ in self.changes():
            pass

    async def changes(self) -> AsyncIterator[dict[str, Arms[T]]]:
        """Follow, and yield `serving` after each change that was worked through.

        Nothing is yielded while nothing is known: an empty `serving` means that the store has no products.
        """
        while True:
            try:
                async for snapshot in self._store.watch():
                    self._contact = self._clock.monotonic()
                    metrics.ROLLOUT_STORE_AGE.touch()
                    if snapshot.revision != self.revision or self.refused:
                        serving = await self._apply(snapshot)
                        if serving or not self.refused:
                            yield serving
                        self.revision = snapshot.revision
            except Exception as error:  # noqa: BLE001 -- away, not for us, or not to be read: what serves goes on
                trace = None if isinstance(error, ApxError) else error
                _log.warning("rollouts.unavailable", detail=str(error), products=len(self.serving), exc_info=trace)
                if not self.settled.is_set() and (serving := await self._apply(self._remembered())):
                    yield serving
            await asyncio.sleep(_RETRY_S)

    async def _apply(self, snapshot: Snapshot) -> dict[str, Arms[T]]:
        serving: dict[str, Arms[T]] = {}
        refused: dict[str, Refusal] = {}
        for product, active in snapshot.products.items():
            before = self.serving.get(product)
            if before is not None and before.active == active and product not in self.refused:
                serving[product] = before
            elif (arms := await self._arms(active, before, refused)) is not None:
                serving[product] = arms
        before_all, self.serving, self.refused = self.serving, serving, refused
        _show(before_all, serving)
        kept = {id(one) for arms in serving.values() for one in arms.prepared().values()}
        for old in before_all.values():
            for prepared in old.prepared().values():
                if id(prepared) not in kept:
                    self._retire(prepared)
        self._remember(snapshot)
        self.settled.set()
        return serving

    async def _arms(self, active: Active, before: Arms[T] | None, refused: dict[str, Refusal]) -> Arms[T] | None:
        """Return what serves a product from now on; None when nothing of it is fit to serve."""
        product, there = active.product, before.prepared() if before is not None else {}
        candidate = await self._one(product, active.candidate, there, refused) if active.candidate is not None else None
        stable, digest = await self._one(product, active.stable, there, refused), active.stable
        if stable is None and before is not None:
            stable, digest = before.stable, before.stable_digest
        elif stable is None and (found := await self._last_good(product, active.stable)) is not None:
            digest, stable = found
        if stable is None:
            if candidate is not None:
                self._retire(candidate)
            return None
        return Arms(active=active, stable=stable, stable_digest=digest, candidate=candidate)

    async def _one(self, product: str, digest: str, there: dict[str, T], refused: dict[str, Refusal]) -> T | None:
        """Return a release prepared: as it is there already, or loaded now; None, and why, when it is not fit."""
        if digest in there:
            return there[digest]
        try:
            prepared = await self._ready(product, digest)
        except Exception as error:  # noqa: BLE001 -- one release's fault, even a bug of ours, is no other's
            refused[product] = self._refuse(product, digest, error)
            return None
        metrics.RELEASE_LOADS.inc(product, "loaded", "ok")
        metrics.RELEASE_STORE_AGE.touch()
        _log.info("release.live", product=product, digest=digest)
        return prepared

    async def _ready(self, product: str, digest: str) -> T:
        release = await self._loader.load(digest, product)
        return await asyncio.to_thread(self._prepare, release)  # compiling takes 150 ms: requests go on

    async def _last_good(self, product: str, refused: str) -> tuple[str, T] | None:
        """Return what a process of this kind served last; None when there is nothing else, or it is bad as well."""
        kept = self._remembered().products.get(product)
        if kept is None or kept.stable == refused:
            return None
        try:
            return kept.stable, await self._ready(product, kept.stable)
        except Exception as error:  # noqa: BLE001 -- as above
            _log.warning("release.last-good-lost", product=product, digest=kept.stable, detail=str(error))
            return None

    def _refuse(self, product: str, digest: str, error: Exception) -> Refusal:
        refusal = Refusal(digest, str(error) or type(error).__name__)
        code, trace = (error.code, None) if isinstance(error, ApxError) else (ApxError.code, error)
        metrics.RELEASE_LOADS.inc(product, "refused", code)
        if self.refused.get(product) != refusal:
            _log.error("release.refused", product=product, digest=digest, reason=refusal.reason, exc_info=trace)
        return refusal

    def _remember(self, snapshot: Snapshot) -> None:
        served = {
            **{name: kept for name, kept in self._remembered().products.items() if name in snapshot.products},
            **{
                name: msgspec.structs.replace(arms.active, stable=arms.stable_digest)
                for name, arms in self.serving.items()
            },
        }
        draft = self._path.with_suffix(f".{os.urandom(4).hex()}")  # processes of one kind share the file
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode(msgspec.structs.replace(snapshot, products=served)))
            draft.replace(self._path)
        except OSError as error:
            _log.warning("rollouts.not-remembered", path=str(self._path), detail=str(error))

    def _remembered(self) -> Snapshot:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Snapshot)
        except (OSError, msgspec.MsgspecError):
            return Snapshot()


def _show(before: dict[str, Arms[T]], now: dict[str, Arms[T]]) -> None:
    """Say in the metrics which releases serve each product."""
    metrics.know_products(now)
    was, shown = _by_arm(before), _by_arm(now)
    for product, arm in was.keys() - shown.keys():
        metrics.RELEASE_ACTIVE.hide(product, arm)
    for (product, arm), digest in shown.items() - was.items():
        metrics.RELEASE_ACTIVE.show(product, arm, short(digest))


def _by_arm(serving: dict[str, Arms[T]]) -> dict[tuple[str, Arm], str]:
    stable: dict[tuple[str, Arm], str] = {(name, "stable"): arms.stable_digest for name, arms in serving.items()}
    candidates: dict[tuple[str, Arm], str] = {
        (name, "candidate"): arms.rollout.candidate for name, arms in serving.items() if arms.rollout is not None
    }
    return stable | candidates
