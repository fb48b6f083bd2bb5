"""A rollout's values: the movement of one product's traffic from the stable release to a candidate.

    pending ─begin─► shadow ─advance─► canary ─promote─► promoted
       │                │               │ ▲ advance (next step)
       └──────begin─────┼──────────────►│─┘
     any of these ──pause──► paused ──resume──► where it was
     any of these, paused ──abort──► aborted
     pending, shadow ──supersede──► superseded

Every movement is one row of `TRANSITIONS`; nothing else changes a state. Operators may also promote from any state that
is under way: that is their decision, and the history says whose.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from apx.catalog.model import RolloutSpec
from apx.errors import Conflict

Arm = Literal["stable", "candidate"]
State = Literal["pending", "shadow", "canary", "paused", "promoted", "aborted", "superseded"]
Event = Literal["begin", "advance", "promote", "pause", "resume", "abort", "supersede"]
Outcome = Literal["pass", "fail", "inconclusive"]

UNDER_WAY: frozenset[State] = frozenset({"pending", "shadow", "canary", "paused"})
"""States in which a rollout still can move."""

TRANSITIONS: dict[tuple[State, Event], tuple[State, ...]] = {
    ("pending", "begin"): ("shadow", "canary"),
    ("shadow", "advance"): ("canary",),
    ("canary", "advance"): ("canary",),
    ("pending", "promote"): ("promoted",),
    ("shadow", "promote"): ("promoted",),
    ("canary", "promote"): ("promoted",),
    ("paused", "promote"): ("promoted",),
    ("pending", "pause"): ("paused",),
    ("shadow", "pause"): ("paused",),
    ("canary", "pause"): ("paused",),
    ("paused", "resume"): ("pending", "shadow", "canary"),
    ("pending", "abort"): ("aborted",),
    ("shadow", "abort"): ("aborted",),
    ("canary", "abort"): ("aborted",),
    ("paused", "abort"): ("aborted",),
    ("pending", "supersede"): ("superseded",),
    ("shadow", "supersede"): ("superseded",),
}


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A share of events in requests, and where it lies for certain (at the judge's confidence, at any moment)."""

    events: int
    requests: int
    low: float
    """In [0, 1]."""
    high: float

    @property
    def rate(self) -> float:
        """Return the share that was seen; 0 without requests."""
        return self.events / self.requests if self.requests else 0.0


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one measure says."""

    measure: Literal["errors", "denials", "policy-failures", "latency"]
    says: Outcome
    candidate: Interval
    stable: Interval | None = None
    """What the candidate is compared with, for the orgs that it serves; None where it is held against a limit alone.
    Its `requests` are how many the orgs' past is worth."""
    limit: float
    """Most that the candidate may have more than the stable release (or at all), in this step; in [0, 1]."""
    org: str = ""
    """The org that decided it alone."""
    text: str
    """One line for an operator."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge says of a candidate. Missing data is never a pass."""

    outcome: Outcome
    reason: str
    """One line: what decided, or what is waited for."""
    evidence: tuple[Evidence, ...] = ()
    at_ms: int = 0


class Revert(msgspec.Struct, frozen=True, kw_only=True):
    """Putting Git right after an abort."""

    state: Literal["wanted", "open", "failed"]
    where: str = ""
    """The pull request's address, or the branch's name."""
    detail: str = ""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One movement, from its start to its end. Times are the store's clock, in milliseconds since the epoch."""

    id: str
    """Distinct for each rollout of a product; also what the split is salted with."""
    candidate: str
    """Digest of N."""
    stable: str
    """Digest of N-1: what was stable when it started, and is again after an abort."""
    spec: RolloutSpec
    """The candidate's own."""
    state: State = "pending"
    step: int = 0
    """Index into `spec.steps`, meaningful in `canary` (and `paused` there)."""
    weight_percent: float = 0.0
    """Share of the orgs that the candidate serves now."""
    paused_in: State | None = None
    """With `paused`: where it goes on."""
    started_ms: int = 0
    entered_ms: int = 0
    """When it came into this state or step."""
    held_ms: int = 0
    """With `paused`: how long it had been in the state that it was paused in."""
    by: str = ""
    why: str = ""
    wave: str = ""
    """What joins the rollouts of one commit: its id."""
    commit: str = ""
    """The commit that the candidate was built from; what a revert is for."""
    forced: bool = False
    """Started against a freeze window, a spent error budget or an earlier abort, for the reason in `why`."""
    reason: str = ""
    """Why it is in this state."""
    verdict: Verdict | None = None
    """What decided the last movement."""
    revert: Revert | None = None

    @property
    def under_way(self) -> bool:
        """Tell whether it still can move."""
        return self.state in UNDER_WAY

    @property
    def shadow_percent(self) -> float:
        """Return the share of the stable release's decisions that the candidate repeats now."""
        repeats = self.state in ("shadow", "canary") or self.paused_in in ("shadow", "canary")
        return self.spec.shadow.share_percent if repeats and self.under_way else 0.0


def moved(rollout: Rollout, event: Event, *, now_ms: int, reason: str, verdict: Verdict | None = None) -> Rollout:
    """Return the rollout after `event`. Raises `Conflict` where its state has no such movement."""
    to = _target(rollout, event)
    step = rollout.step + 1 if (rollout.state, event) == ("canary", "advance") else rollout.step
    held_ms = now_ms - rollout.entered_ms if event == "pause" else 0
    weight = rollout.spec.steps[step].weight_percent if to == "canary" else 0.0
    return msgspec.structs.replace(
        rollout,
        state=to,
        step=step,
        weight_percent=rollout.weight_percent if event == "pause" else weight,
        # The time before a pause counts, the pause does not.
        entered_ms=now_ms - rollout.held_ms if event == "resume" else now_ms,
        held_ms=held_ms,
        paused_in=rollout.state if event == "pause" else None,
        reason=reason,
        verdict=verdict,
    )


def last_step(rollout: Rollout) -> bool:
    """Tell whether the rollout is in its last step."""
    return rollout.step >= len(rollout.spec.steps) - 1


def _target(rollout: Rollout, event: Event) -> State:
    targets = TRANSITIONS.get((rollout.state, event), ())
    if event == "resume" and rollout.paused_in in targets:
        return rollout.paused_in
    if event == "begin" and targets:
        return "shadow" if rollout.spec.shadow.share_percent and rollout.spec.shadow.hold_s else "canary"
    if not targets or event == "resume" or (rollout.state == "canary" and event == "advance" and last_step(rollout)):
        raise Conflict(f"a rollout that is {rollout.state} cannot {event}")
    return targets[0]
