"""What an operator is shown of a product's rollout: where it is, what both arms did, and what it waits for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from apx.bootstrap import Backends
from apx.errors import Unavailable
from apx.rollout.active import Active
from apx.rollout.assess import Assessment, assess
from apx.rollout.counts import Counts, upper_bound_s
from apx.rollout.freeze import frozen_until
from apx.rollout.model import Rollout, State, Verdict

_NINETIETH = 0.9
_AT_A_TIME = 16


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A product as it was at `now_ms` (the store's clock)."""

    active: Active
    now_ms: int
    assessment: Assessment | None = None
    """What the counts say; None where no rollout is under way, or they cannot be read."""
    fault: str = ""
    """Why the counts cannot be read."""

    @property
    def product(self) -> str:
        """Return the product's name."""
        return self.active.product

    @property
    def rollout(self) -> Rollout | None:
        """Return the rollout under way, or the last one."""
        return self.active.rollout

    @property
    def verdict(self) -> Verdict | None:
        """Return what the counts say now; of a rollout that has ended, what decided it."""
        if self.assessment is not None:
            return self.assessment.verdict
        if self.fault:
            return Verdict(outcome="inconclusive", reason=f"the counts cannot be read: {self.fault}")
        return self.rollout.verdict if self.rollout is not None else None


async def look(backends: Backends, products: Iterable[Active]) -> list[Progress]:
    """Return the progress of products, with the counts of those that have a rollout under way. Raises `Unavailable`."""
    now_ms = await backends.rollouts.now_ms()
    room = asyncio.Semaphore(_AT_A_TIME)

    async def at(active: Active) -> Progress:
        async with room:
            return await _progress(backends, active, now_ms)

    return await asyncio.gather(*map(at, products))


async def _progress(backends: Backends, active: Active, now_ms: int) -> Progress:
    rollout = active.rollout
    if rollout is None or not rollout.under_way:
        return Progress(active=active, now_ms=now_ms)
    try:
        assessment = await assess(backends.counts, active.product, rollout)
    except Unavailable as error:
        return Progress(active=active, now_ms=now_ms, fault=str(error))
    return Progress(active=active, now_ms=now_ms, assessment=assessment)


def hold_s(rollout: Rollout) -> float:
    """Return the shortest stay in the state or step that a rollout is in (or was paused in)."""
    match acting(rollout):
        case "shadow":
            return rollout.spec.shadow.hold_s
        case "canary":
            return rollout.spec.steps[rollout.step].hold_s
    return 0.0


def hold_left_s(rollout: Rollout, now_ms: int) -> float:
    """Return how much of the hold is left; a pause does not count."""
    held_ms = rollout.held_ms if rollout.state == "paused" else now_ms - rollout.entered_ms
    return max(0.0, hold_s(rollout) - held_ms / 1000)


def acting(rollout: Rollout) -> State:
    """Return the state that decides what traffic sees: of a paused rollout the one that it was paused in."""
    return rollout.paused_in or rollout.state


def waits_for(progress: Progress) -> str:
    """Say in one line what a product's rollout waits for; nothing where it waits for nothing."""
    rollout = progress.rollout
    if rollout is None:
        return ""
    if rollout.state == "paused":
        product = progress.product
        return f"a person: `apx rollout resume {product}`, `promote {product}` or `abort {product}`"
    return _moves_on_after(progress, rollout) if rollout.under_way else _after_the_end(progress.active, rollout)


def _moves_on_after(progress: Progress, rollout: Rollout) -> str:
    frozen = None if rollout.forced else frozen_until(rollout.spec.freeze, progress.now_ms)
    if frozen is not None:
        return f"the end of a freeze window: {frozen[0].why}, until {frozen[1]:%a %H:%M %Z}"
    if left := hold_left_s(rollout, progress.now_ms):
        return f"the end of its hold: {_seconds(left)}"
    if rollout.state == "canary" and (progress.verdict is None or progress.verdict.outcome == "inconclusive"):
        return f"the judge's pass; pauses in {_seconds(_pauses_in_s(rollout, progress.now_ms))} without one"
    return "the monitor, which moves it on within seconds"


def _after_the_end(active: Active, rollout: Rollout) -> str:
    if rollout.revert is not None and rollout.revert.state == "wanted":
        return "its revert to be opened"
    return f"{active.waiting.id} to begin" if active.waiting is not None else ""


def _pauses_in_s(rollout: Rollout, now_ms: int) -> float:
    longest = max(hold_s(rollout), rollout.spec.max_hold_s)
    return max(0.0, longest - (now_ms - rollout.entered_ms) / 1000)


def _seconds(seconds: float) -> str:
    return f"{math.ceil(seconds)} s"


def total(by_org: Mapping[str, Counts]) -> Counts:
    """Return what was counted of all orgs together."""
    together = Counts(latency={})
    for counts in by_org.values():
        together.add(counts)
    return together


def p90_s(latency: Mapping[int, int]) -> float | None:
    """Return the latency that nine in ten answers stay within (its bucket's upper bound); None without answers."""
    wanted = _NINETIETH * sum(latency.values())
    seen = 0
    for at in sorted(latency):
        seen += latency[at]
        if seen >= wanted:
            return upper_bound_s(at)
    return None


def shown(progress: Progress) -> dict[str, Any]:
    """Return a progress as JSON shows it: one object, the counts of all orgs together."""
    rollout, assessment = progress.rollout, progress.assessment
    arms = {}
    if assessment is not None:
        arms = {
            name: msgspec.to_builtins(total(by_org), str_keys=True)
            for name, by_org in (("stable", assessment.stable), ("candidate", assessment.candidate))
        }
    left = hold_left_s(rollout, progress.now_ms) if rollout is not None and rollout.under_way else 0.0
    return {
        "at_ms": progress.now_ms,
        "product": progress.product,
        "release": progress.active.stable,
        "rollout": msgspec.to_builtins(rollout),
        "waiting": progress.active.waiting.id if progress.active.waiting is not None else None,
        "verdict": msgspec.to_builtins(progress.verdict),
        "arms": arms,
        "hold_left_s": left,
        "waits_for": waits_for(progress),
    }


def waves(looked: Sequence[Progress]) -> list[list[Progress]]:
    """Return the progress of products by wave, those of one beside each other; a product alone is one of its own."""
    found: dict[str, list[Progress]] = {}
    for one in sorted(looked, key=lambda one: one.product):
        wave = one.rollout.wave if one.rollout is not None else ""
        found.setdefault(f"wave {wave}" if wave else f"product {one.product}", []).append(one)
    return list(found.values())
