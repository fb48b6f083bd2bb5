"""Two releases of a product, counted side by side: who was refused, and what the other one would have said.

A candidate's refusal is put to the stable release, so that what it newly denies is known request by request. In shadow,
a share of the stable release's requests is put to the candidate. Neither has an effect on the request, and both are
bounded in processor time: beyond that fewer are compared, and the counts say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from apx.admission.admit import Admitted, Call, Judged, LiveProduct, Refused, judge
from apx.admission.keys import KeyRecord
from apx.admission.routes import Match
from apx.clock import Clock
from apx.rollout.arms import Arms
from apx.rollout.counts import Counts, Tally
from apx.rollout.model import Arm
from apx.telemetry import logs

_COMPARED_SHARE = 0.05
"""Most processor time for putting refusals to the stable release."""
_MOST_SAVED_S = 0.1
"""Processor time that may be saved up for a burst."""
_EXAMPLES_EVERY_S = 10.0
"""One differing decision of each kind is logged in so many seconds."""

Found = Match | Refused


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and what it is to both releases of its product."""

    arms: Arms[LiveProduct]
    found: Mapping[Arm, Found]
    """The route that its path is under each of the two."""
    arm: Arm
    """Who served it."""
    key: KeyRecord
    call: Call
    answer: Admitted | Refused


class SideBySide:
    """Counts what releases make of requests. One for a router's event loop."""

    def __init__(self, tally: Tally, *, clock: Clock, chance: Callable[[], float]) -> None:
        self._tally = tally
        self._clock = clock
        self._chance = chance
        self._budgets: dict[tuple[str, str], _Budget] = {}
        self._logged: dict[tuple[str, str], float] = {}

    def count(self, product: LiveProduct, org: str, answer: Admitted | Refused) -> None:
        """Count what a release made of a request."""
        counts = self._tally.of(product.name, product.digest, org)
        counts.requests += 1
        if isinstance(answer, Refused) and answer.limit is None:
            counts.denied += 1
            counts.policy_failures += answer.policy_failed

    def wants_comparison(self, arms: Arms[LiveProduct], arm: Arm, answer: Admitted | Refused) -> bool:
        """Tell whether a request is one to put to the other release as well."""
        limited = isinstance(answer, Refused) and answer.limit is not None
        if limited or arm == "candidate":
            return isinstance(answer, Refused) and not limited
        rollout = arms.rollout
        return rollout is not None and self._chance() * 100 < rollout.shadow_percent

    def compare(self, case: Case) -> None:
        """Put a request to the other release and count what it says. Never raises, changes no limit."""
        arms, candidate, rollout = case.arms, case.arms.candidate, case.arms.rollout
        if rollout is None or candidate is None:
            return
        served = case.arm == "candidate"
        counts = self._tally.of(candidate.name, candidate.digest, case.key.org)
        budget = self._budgets.setdefault((candidate.name, case.arm), _Budget(self._clock))
        if not budget.left(_COMPARED_SHARE if served else rollout.spec.shadow.budget_percent / 100):
            counts.shadow_skipped += not served
            return
        began = self._clock.monotonic()
        other = _judged(arms.stable if served else candidate, case.found["stable" if served else "candidate"], case)
        budget.spend(self._clock.monotonic() - began)
        kind = _refused_by_candidate(counts, other) if served else _shadow(counts, case.answer, other)
        if kind:
            self._show(kind, rollout.id, case, other)

    def _show(self, kind: str, rollout: str, case: Case, other: Judged | Refused) -> None:
        """Log an example, now and then: who, which route, what both said; never a body or a header."""
        now, place = self._clock.monotonic(), (case.arms.stable.name, kind)
        if now - self._logged.get(place, float("-inf")) < _EXAMPLES_EVERY_S:
            return
        self._logged[place] = now
        logs.canonical(
            "decisions-differ",
            kind=kind,
            product=case.arms.stable.name,
            rollout=rollout,
            org=case.key.org,
            method=case.call.method,
            path=case.call.path,
            served=_said(case.answer),
            other=_said(other),
        )


class _Budget:
    """Processor time, saved up at a share of one processor."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic()
        self._saved_s = _MOST_SAVED_S

    def left(self, share: float) -> bool:
        now = self._clock.monotonic()
        self._saved_s = min(_MOST_SAVED_S, self._saved_s + (now - self._at) * share)
        self._at = now
        return self._saved_s > 0

    def spend(self, seconds: float) -> None:
        self._saved_s -= seconds


def _judged(product: LiveProduct, match: Found, case: Case) -> Judged | Refused:
    return match if isinstance(match, Refused) else judge(product, match, case.key, case.call, product.policy.decide)


def _refused_by_candidate(counts: Counts, stable: Judged | Refused) -> str:
    counts.compared += 1
    counts.newly_denied += isinstance(stable, Judged)
    return "newly-denied" if isinstance(stable, Judged) else ""


def _shadow(counts: Counts, ours: Admitted | Refused, theirs: Judged | Refused) -> str:
    """Count what a candidate would have said beside what the stable release did; return the kind of difference."""
    counts.shadowed += 1
    if isinstance(theirs, Refused) and theirs.policy_failed:
        counts.shadow_failed += 1
    if isinstance(ours, Admitted) and isinstance(theirs, Refused):
        counts.shadow_newly_denied += 1
        return "newly-denied"
    if isinstance(ours, Refused) and isinstance(theirs, Judged):
        counts.shadow_newly_admitted += 1
        return "newly-admitted"
    if _effect(ours) != _effect(theirs):
        counts.shadow_other += 1
        return "other"
    return ""


def _effect(answer: Admitted | Judged | Refused) -> object:
    """Return what of an answer can differ while it admits, or refuses, all the same."""
    if isinstance(answer, Refused):
        return answer.code
    return answer.decision.reason, answer.decision.headers, answer.decision.cost


def _said(answer: Admitted | Judged | Refused) -> str:
    return f"{answer.status} {answer.code}" if isinstance(answer, Refused) else "admitted"
