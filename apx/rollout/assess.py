"""From counters to a verdict: which spans of time are compared, and when counts are too old to pass on.

What a verdict rests on is read anew each time, so that whoever looks (the monitor that leads, another that takes over,
an operator's status) sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from apx.rollout.counts import By, Counted, Counts, CountStore
from apx.rollout.judge import Observed, judge
from apx.rollout.model import Rollout, Verdict, last_step

BEFORE_MS = 6 * 3_600_000
"""How far back the stable release's own record is looked at."""
LATE_MS = 5_000
"""A process writes its counts each second; one that is silent for so long may have seen what nobody knows."""


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict, and the counts that it rests on."""

    verdict: Verdict
    stable: Mapping[str, Counts]
    """By org, since the step began."""
    candidate: Mapping[str, Counts]


async def assess(counts: CountStore, product: str, rollout: Rollout) -> Assessment:
    """Judge a rollout by what was counted up to now. Raises `Unavailable`: then nobody knows, and nothing passes."""
    since = await counts.read(product, rollout.entered_ms)
    now = _by_org(since.by)
    candidate, stable = now.get(rollout.candidate, {}), now.get(rollout.stable, {})
    shadow = rollout.state in ("pending", "shadow") or rollout.paused_in in ("pending", "shadow")
    if shadow:
        candidate = {org: _in_shadow(seen) for org, seen in candidate.items()}
    earlier = _by_org((await counts.read(product, rollout.started_ms, rollout.entered_ms)).by)
    before = _by_org((await counts.read(product, rollout.started_ms - BEFORE_MS, rollout.started_ms)).by)
    observed = Observed(
        candidate=candidate,
        stable=stable,
        before=_together(before.get(rollout.stable, {}), earlier.get(rollout.stable, {})),
        carried=earlier.get(rollout.candidate, {}),
    )
    steps = rollout.spec.steps
    verdict = judge(
        rollout.spec.judge,
        observed,
        weight_percent=rollout.weight_percent or steps[0].weight_percent,
        last_weight_percent=steps[-1].weight_percent,
        last=last_step(rollout),
    )
    if shadow and verdict.outcome != "fail":
        verdict = _shown_by_shadow(candidate)
    return Assessment(verdict=_dated(verdict, since), stable=stable, candidate=candidate)


def _shown_by_shadow(candidate: Mapping[str, Counts]) -> Verdict:
    """Say what a shadow has seen; it can speak against a candidate, never for it."""
    repeated = sum(seen.requests for seen in candidate.values())
    denied = sum(seen.newly_denied for seen in candidate.values())
    reason = f"in shadow: {repeated} decisions repeated, {denied} of them would newly be denied"
    return Verdict(outcome="inconclusive", reason=reason)


def _dated(verdict: Verdict, counted: Counted) -> Verdict:
    """Hold back a pass while counts are missing; a failure that was seen stands."""
    verdict = msgspec.structs.replace(verdict, at_ms=counted.now_ms)
    if verdict.outcome == "fail":
        return verdict
    late = sorted(name for name, at_ms in counted.writers.items() if counted.now_ms - at_ms > LATE_MS)
    if not counted.writers:
        return msgspec.structs.replace(verdict, outcome="inconclusive", reason="nobody counts: no router writes counts")
    if late:
        reason = f"counts are late: {', '.join(late)} wrote none for over {LATE_MS / 1000:g} s"
        return msgspec.structs.replace(verdict, outcome="inconclusive", reason=reason)
    return verdict


def _by_org(by: Mapping[By, Counts]) -> dict[str, dict[str, Counts]]:
    """Return release → org → counts."""
    found: dict[str, dict[str, Counts]] = {}
    for (release, org), counts in by.items():
        found.setdefault(release, {})[org] = counts
    return found


def _together(one: Mapping[str, Counts], other: Mapping[str, Counts]) -> dict[str, Counts]:
    both: dict[str, Counts] = {}
    for org in one.keys() | other.keys():
        both[org] = Counts(latency={})
        for part in (one, other):
            if org in part:
                both[org].add(part[org])
    return both


def _in_shadow(seen: Counts) -> Counts:
    """Return what a shadow has shown as if the candidate had served it."""
    denied = seen.shadow_newly_denied
    return Counts(
        requests=seen.shadowed,
        denied=denied,
        compared=denied,
        newly_denied=denied,
        policy_failures=seen.shadow_failed,
        latency={},
    )
