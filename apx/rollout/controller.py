"""What moves rollouts on: one look at one product, one movement at most, from the record alone.

Everything that it knows stands in the store, so that whichever process leads next goes on where this one stopped. A
movement is a compare-and-swap from the record that was looked at: one who has been overtaken changes nothing.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from apx.errors import ApxError, Conflict, NotFound, ReleaseRejected, Retryable, Unavailable
from apx.release.load import Loader
from apx.release.store import ReleaseStore
from apx.rollout.actions import begin_waiting, move, note_revert
from apx.rollout.active import Active, RolloutStore
from apx.rollout.assess import assess
from apx.rollout.counts import CountStore
from apx.rollout.freeze import frozen_until
from apx.rollout.githost import GitHost
from apx.rollout.model import Event, Revert, Rollout, Verdict, last_step
from apx.rollout.revert import wish_for
from apx.telemetry import metrics

ACTOR = "monitor"
_AT_A_TIME = 16
_log = structlog.get_logger(__name__)


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, and why."""

    event: Event
    reason: str
    verdict: Verdict | None = None


def next_movement(rollout: Rollout, verdict: Verdict, now_ms: int) -> Movement | None:
    """Return how a rollout moves now; None while it holds. Pure.

    A failure takes it back wherever it is, also paused. A pass alone is not enough: the step's hold has to be over, and
    nothing moves forward in a freeze window. What stays inconclusive for `max_hold_s` beyond the hold is paused.
    """
    if verdict.outcome == "fail" and rollout.state != "pending":
        return Movement(event="abort", reason=verdict.reason, verdict=verdict)
    if rollout.state == "paused" or (not rollout.forced and frozen_until(rollout.spec.freeze, now_ms)):
        return None
    held_s = (now_ms - rollout.entered_ms) / 1000
    match rollout.state:
        case "pending":
            return Movement(event="begin", reason="nothing stands in the way")
        case "shadow":
            over = held_s >= rollout.spec.shadow.hold_s
            reason = "the shadow showed nothing against it"
            return Movement(event="advance", reason=reason, verdict=verdict) if over else None
        case "canary":
            return _in_canary(rollout, verdict, held_s)
    return None


def _in_canary(rollout: Rollout, verdict: Verdict, held_s: float) -> Movement | None:
    hold_s = rollout.spec.steps[rollout.step].hold_s
    if held_s >= hold_s and verdict.outcome == "pass":
        event: Event = "promote" if last_step(rollout) else "advance"
        return Movement(event=event, reason=verdict.reason, verdict=verdict)
    if held_s > max(hold_s, rollout.spec.max_hold_s):
        reason = f"no verdict within {rollout.spec.max_hold_s:g} s: {verdict.reason}"
        return Movement(event="pause", reason=reason, verdict=verdict)
    return None


def _needs_a_look(active: Active) -> bool:
    rollout = active.rollout
    if rollout is None:
        return False
    wanted = rollout.revert is not None and rollout.revert.state == "wanted"
    return rollout.under_way or wanted or active.waiting is not None


class Controller:
    """Looks at products and moves their rollouts."""

    def __init__(
        self,
        store: RolloutStore,
        counts: CountStore,
        releases: ReleaseStore,
        loader: Loader,
        git_host: GitHost | None,
        *,
        gitops_root: str = "gitops",
    ) -> None:
        self._store = store
        self._counts = counts
        self._releases = releases
        self._loader = loader
        self._git_host = git_host
        self._gitops_root = gitops_root

    async def look(self) -> None:
        """Look at every product once. Raises `Unavailable` when the store does not answer.

        One product's fault holds up no other: the first is raised when all were looked at.
        """
        room = asyncio.Semaphore(_AT_A_TIME)
        products = (await self._store.read()).products.values()
        looks = [self._look_at(active, room) for active in products if _needs_a_look(active)]
        faults = [fault for fault in await asyncio.gather(*looks, return_exceptions=True) if fault is not None]
        if faults:
            raise faults[0]

    async def _look_at(self, active: Active, room: asyncio.Semaphore) -> None:
        async with room:
            try:
                await self._take_its_turn(active)
            except Conflict as error:
                _log.info("rollout.overtaken", product=active.product, detail=str(error))

    async def _take_its_turn(self, active: Active) -> None:
        rollout = active.rollout
        if rollout is None:
            return
        if rollout.under_way:
            await self._move_on(active, rollout)
        elif rollout.revert is not None and rollout.revert.state == "wanted":
            await self._put_git_right(active, rollout)
        elif active.waiting is not None:
            await begin_waiting(self._store, active, actor=ACTOR)

    async def _move_on(self, active: Active, rollout: Rollout) -> None:
        now_ms = await self._store.now_ms()
        verdict = await self._verdict(active.product, rollout, now_ms)
        metrics.ROLLOUT_WEIGHT.set(rollout.weight_percent, active.product)
        metrics.VERDICTS.inc(active.product, verdict.outcome)
        movement = next_movement(rollout, verdict, now_ms)
        if movement is not None and movement.event == "begin":
            movement = await self._fit_to_begin(active.product, rollout) or movement
        if movement is None:
            return
        await move(
            self._store,
            active.product,
            movement.event,
            actor=ACTOR,
            reason=movement.reason,
            verdict=movement.verdict,
            expected=active,
        )
        metrics.ROLLOUT_MOVEMENTS.inc(active.product, movement.event)
        notice = _log.warning if movement.event in ("abort", "pause") else _log.info
        notice("rollout.moved", product=active.product, rollout=rollout.id, by=movement.event, reason=movement.reason)

    async def _verdict(self, product: str, rollout: Rollout, now_ms: int) -> Verdict:
        try:
            return (await assess(self._counts, product, rollout)).verdict
        except Unavailable as error:
            return Verdict(outcome="inconclusive", reason=f"the counts cannot be read: {error}", at_ms=now_ms)

    async def _fit_to_begin(self, product: str, rollout: Rollout) -> Movement | None:
        """Read both releases whole once more; return the abort when the candidate is not what was signed."""
        try:
            await self._loader.load(rollout.candidate, product)
        except (ReleaseRejected, NotFound) as error:
            return Movement(event="abort", reason=f"the candidate cannot serve: {error}")
        try:
            await self._loader.load(rollout.stable, product)
        except (ReleaseRejected, NotFound) as error:
            return Movement(event="abort", reason=f"there would be no way back: {error}")
        return None

    async def _put_git_right(self, active: Active, rollout: Rollout) -> None:
        """Open the revert; what cannot be opened is noted once, what may work later is tried again."""
        try:
            revert = await self._reverted(active, rollout)
        except Retryable as error:
            _log.warning("revert.again", product=active.product, detail=str(error))
            return
        except ApxError as error:
            revert = Revert(state="failed", detail=str(error))
        await note_revert(self._store, active, revert, actor=ACTOR)
        _log.info("revert.noted", product=active.product, state=revert.state, where=revert.where, detail=revert.detail)

    async def _reverted(self, active: Active, rollout: Rollout) -> Revert:
        if self._git_host is None:
            return Revert(state="failed", detail="no Git host is configured: put the repository right by hand")
        product = active.product

        async def package_of(digest: str) -> str:
            return (await self._loader.manifest(digest, product)).policy.package

        others = [
            (await self._loader.manifest(other.stable, name)).policy.package
            for name, other in (await self._store.read()).products.items()
            if name != product
        ]
        wish = await wish_for(
            product,
            rollout,
            host=self._git_host,
            releases=self._releases,
            package_of=package_of,
            others=others,
            root=self._gitops_root,
        )
        return Revert(state="open", where=(await self._git_host.open_revert(wish)).where)
