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
from apx.rollout.active import RolloutStore, Snapshot
from apx.telemetry import metrics

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_RETRY_S = 1.0


class Refusal(msgspec.Struct, frozen=True):
    """Why a release that should be live is not."""

    digest: str
    reason: str


class Follower(Generic[T]):
    """The live releases of this process, each prepared by `prepare` (and put away by `retire`).

    `current` maps product → prepared value and is replaced whole, never changed: who holds it sees one state.
    `refused` maps product → why its new release is not served; what a process of this kind served last, serves in its
    place. `settled` is set once the first snapshot was worked through, from the store or from the last known good.
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
        self._digests: dict[str, str] = {}
        self._contact: float | None = None
        self.revision = -1
        self.current: dict[str, T] = {}
        self.refused: dict[str, Refusal] = {}
        self.settled = asyncio.Event()

    @property
    def age_s(self) -> float:
        """Return the seconds since the store last answered; infinite when it never did."""
        return float("inf") if self._contact is None else self._clock.monotonic() - self._contact

    @property
    def digests(self) -> dict[str, str]:
        """Return product → digest of what serves."""
        return dict(self._digests)

    async def run(self) -> None:
        """Follow until cancelled."""
        async for _ in self.changes():
            pass

    async def changes(self) -> AsyncIterator[dict[str, T]]:
        """Follow, and yield `current` after each change that was worked through.

        Nothing is yielded while nothing is known: an empty `current` means that the store has no products.
        """
        while True:
            try:
                async for snapshot in self._store.watch():
                    self._contact = self._clock.monotonic()
                    metrics.ROLLOUT_STORE_AGE.touch()
                    if snapshot.revision != self.revision or self.refused:
                        current = await self._apply(snapshot)
                        if current or not self.refused:
                            yield current
                        self.revision = snapshot.revision
            except Exception as error:  # noqa: BLE001 -- away, not for us, or not to be read: what serves goes on
                trace = None if isinstance(error, ApxError) else error
                _log.warning("rollouts.unavailable", detail=str(error), products=len(self.current), exc_info=trace)
                if not self.settled.is_set() and (current := await self._apply(self._remembered())):
                    yield current
            await asyncio.sleep(_RETRY_S)

    async def _apply(self, snapshot: Snapshot) -> dict[str, T]:
        current, digests, refused = dict(self.current), dict(self._digests), {}
        replaced = []
        for product, active in snapshot.products.items():
            if digests.get(product) == active.stable:
                continue
            digest = active.stable
            try:
                prepared = await self._ready(product, digest)
            except Exception as error:  # noqa: BLE001 -- one product's fault, even a bug of ours, is no other's
                refused[product] = self._refuse(product, digest, error)
                if product in current or (found := await self._last_good(product, digest)) is None:
                    continue
                digest, prepared = found
            if product in current:
                replaced.append(current[product])
            current[product], digests[product] = prepared, digest
            metrics.RELEASE_LOADS.inc(product, "loaded", "ok")
            metrics.RELEASE_STORE_AGE.touch()
            _log.info("release.live", product=product, digest=digest, revision=active.revision)
        for product in set(current) - set(snapshot.products):
            replaced.append(current.pop(product))
            del digests[product]
        _show(self._digests, digests)
        self.current, self._digests, self.refused = current, digests, refused
        for old in replaced:
            self._retire(old)
        self._remember(snapshot)
        self.settled.set()
        return current

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
                name: msgspec.structs.replace(active, stable=self._digests[name])
                for name, active in snapshot.products.items()
                if name in self._digests
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


def _show(before: dict[str, str], now: dict[str, str]) -> None:
    """Say in the metrics which release serves each product."""
    metrics.know_products(now)
    for product in before.keys() - now.keys():
        metrics.RELEASE_ACTIVE.hide(product, "stable")
    for product, digest in now.items() - before.items():
        metrics.RELEASE_ACTIVE.show(product, "stable", short(digest))
