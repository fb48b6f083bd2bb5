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
    whole = _by_org((await counts.read(product, rollout.started_ms)).by)
    shadow = _in_shadow(whole.get(rollout.candidate, {}))
    against = _against(rollout, shadow)
    if "canary" not in (rollout.state, rollout.paused_in):
        return Assessment(verdict=_dated(against or _shown_by(shadow), since), stable=stable, candidate=shadow)
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
    if verdict.outcome != "fail":
        verdict = against or verdict
    return Assessment(verdict=_dated(verdict, since), stable=stable, candidate=candidate)


def _against(rollout: Rollout, shadow: Mapping[str, Counts]) -> Verdict | None:
    """Return the failure that the shadow shows, if it does: also of orgs that the candidate does not serve yet.

    What a policy says of an input is the same in every step, so all since the rollout's start counts.
    """
    observed = Observed(candidate=shadow, stable={}, before={}, carried={})
    verdict = judge(rollout.spec.judge, observed, weight_percent=100, last_weight_percent=100, last=True)
    if verdict.outcome != "fail":
        return None
    return msgspec.structs.replace(verdict, reason=f"in shadow: {verdict.reason}")


def _shown_by(shadow: Mapping[str, Counts]) -> Verdict:
    """Say what a shadow has seen; it can speak against a candidate, never for it."""
    repeated = sum(seen.requests for seen in shadow.values())
    denied = sum(seen.newly_denied for seen in shadow.values())
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


def _in_shadow(candidate: Mapping[str, Counts]) -> dict[str, Counts]:
    """Return what a shadow has shown as if the candidate had served it."""
    return {
        org: Counts(
            requests=seen.shadowed,
            denied=seen.shadow_newly_denied,
            compared=seen.shadow_newly_denied,
            newly_denied=seen.shadow_newly_denied,
            policy_failures=seen.shadow_failed,
            latency={},
        )
        for org, seen in candidate.items()
        if seen.shadowed
    }
