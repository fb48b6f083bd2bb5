"""The judge: what the counts say of a candidate, at any moment of a rollout.

A verdict may be asked for each second, and the rollout stopped on any of them: every bound is one of a confidence
sequence (`confidence`), so that looking often costs nothing. Errors and latency are compared within each org
(`reference`, `comparison`); denials and policy failures were put to the stable policy one by one (`paired`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Literal

import msgspec

from apx.catalog.model import Judge
from apx.rollout.comparison import Case, compared
from apx.rollout.counts import Counts
from apx.rollout.limits import Bars, Chances
from apx.rollout.model import Evidence, Interval, Verdict
from apx.rollout.paired import denials, policy_failures
from apx.rollout.reference import Seen, Trials

NOISY = Chances(fail=1.2e-3, passing=5e-3)
"""Errors and latency. A step aborts with a chance of 0.24 % at most what is exactly at both limits, four steps with
1 %; a candidate that is as good as the stable release is far from them. To be promoted a bad candidate must pass the
very measure that it is bad in, so that the chance of passing need not be shared."""
PAIRED = Chances(fail=2e-3, passing=5e-3)
"""Denials and policy failures. A candidate that decides as the stable release does has no new ones: it is never aborted
for them, whatever this says."""

_MOST_TOLERANCE = 0.25
_SLOW = 0.9
_HISTORY = 50
"""How many answers of its own outweigh the product's latencies for an org."""
_NO_COUNTS = Counts()


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted, by org."""

    candidate: Mapping[str, Counts]
    """What the candidate did since the current step began."""
    stable: Mapping[str, Counts]
    """What the stable release did in the same span, for the other orgs."""
    before: Mapping[str, Counts]
    """What the stable release did before the rollout moved, for all orgs; the last hours."""
    carried: Mapping[str, Counts]
    """What the candidate did in earlier steps of this rollout; may be empty."""


def judge(
    limits: Judge, observed: Observed, *, weight_percent: float, last_weight_percent: float, last: bool
) -> Verdict:
    """Say whether the candidate fails, passes the step, or whether more must be seen. Pure, and total.

    `weight_percent` is the step's, `last_weight_percent` the last step's, `last` whether this is it.
    """

    def bars(limit_percent: float, most_percent: float = 100.0) -> Bars:
        limit = None if limit_percent >= 100 else limit_percent / 100  # noqa: PLR2004 -- percent
        now = limit if last or limit is None else tolerated(limit, weight_percent, last_weight_percent)
        most = None if most_percent >= 100 else most_percent / 100  # noqa: PLR2004 -- percent
        return Bars(more=limit, more_now=now, most=most)

    evidence = tuple(_measures(limits, observed, bars, last=last))
    for outcome in ("fail", "inconclusive"):
        if said := [one for one in evidence if one.says == outcome]:
            return Verdict(outcome=outcome, reason=said[0].text, evidence=evidence)
    return Verdict(outcome="pass", reason="every measure is within its limit", evidence=evidence)


def tolerated(limit: float, weight_percent: float, last_weight_percent: float) -> float:
    """Return how much worse a candidate may turn out in a step before the last: the harm is weight times excess."""
    return max(limit, min(_MOST_TOLERANCE, limit * last_weight_percent / max(weight_percent, 1e-9)))


def _measures(limits: Judge, observed: Observed, bars: Callable[..., Bars], *, last: bool) -> Iterable[Evidence]:
    errors = bars(limits.more_errors_percent, limits.errors_percent)
    if errors.more is not None or errors.most is not None:
        yield _errors(observed, errors)
    latency = bars(limits.more_slow_percent)
    if latency.more is not None:
        yield _latency(observed, latency)
    carried = _carried(observed) if last else {}
    denied = bars(limits.new_denials_percent, limits.new_denials_percent)
    if denied.most is not None:
        yield denials(observed.candidate, carried, denied, PAIRED)
    failing = bars(limits.policy_failures_percent, limits.policy_failures_percent)
    if failing.most is not None:
        evidence = policy_failures(observed.candidate, carried, failing, PAIRED)
        covered = denied.most is not None and denied.most <= failing.most
        yield _not_waited_for(evidence) if covered else evidence


def _not_waited_for(failures: Evidence) -> Evidence:
    """Let policy failures pass that are not certain to be too many: each is a denial, held to no higher limit."""
    if failures.says != "inconclusive" or not failures.candidate.requests:
        return failures
    seen = failures.candidate
    text = f"policy failures: {seen.events} of {seen.requests}: waited for among the new denials"
    return msgspec.structs.replace(failures, says="pass", text=text)


def _carried(observed: Observed) -> Mapping[str, Counts]:
    """Return the earlier steps' counts where the last step's outweigh them: its orgs are the most, and may differ."""
    earlier = sum(counts.requests for counts in observed.carried.values())
    return observed.carried if earlier <= sum(counts.requests for counts in observed.candidate.values()) else {}


def _errors(observed: Observed, bars: Bars) -> Evidence:
    arms = [_failed(arm) for arm in (observed.candidate, observed.stable, observed.before)]
    if not arms[0]:
        return _nothing("errors", bars)
    return compared(Case(measure="errors", candidate=arms[0], stable=arms[1], before=arms[2]), bars, NOISY)


def _latency(observed: Observed, bars: Bars) -> Evidence:
    slowest = _ninetieth(observed)
    if slowest is None:
        return _nothing("latency", bars)
    arms = [_slower(arm, slowest) for arm in (observed.candidate, observed.stable, observed.before)]
    return compared(Case(measure="latency", candidate=arms[0], stable=arms[1], before=arms[2]), bars, NOISY)


def _nothing(measure: Literal["errors", "latency"], bars: Bars) -> Evidence:
    return Evidence(
        measure=measure,
        says="inconclusive",
        candidate=Interval(events=0, requests=0, low=0.0, high=1.0),
        limit=bars.more_now or bars.most or 0.0,
        text=f"{measure}: no answer of the backend seen yet",
    )


def _failed(arm: Mapping[str, Counts]) -> Trials:
    return {org: Seen(counts.errors, counts.answers) for org, counts in arm.items() if counts.answers}


def _slower(arm: Mapping[str, Counts], than: int) -> Trials:
    found = {}
    for org, counts in arm.items():
        if counts.latency:
            slow = sum([count for at, count in counts.latency.items() if at > than])
            found[org] = Seen(slow, sum(counts.latency.values()))
    return found


def _ninetieth(observed: Observed) -> int | None:
    """Return the bucket of the stable release's 90th percentile for the candidate's mix of orgs; None without data."""
    mix = {org: sum(counts.latency.values()) for org, counts in observed.candidate.items() if counts.latency}
    product = _histogram(chain(observed.before.values(), observed.stable.values()))
    if not mix or not product:
        return None
    expected, borrowed = dict.fromkeys(product, 0.0), 0.0
    for org, answers in mix.items():
        own = observed.before.get(org, _NO_COUNTS).latency
        each = answers / (sum(own.values()) + _HISTORY)
        borrowed += each * _HISTORY
        for at, count in own.items():
            expected[at] += each * count
    borrowed /= sum(product.values())
    for at, count in product.items():
        expected[at] += borrowed * count
    return _quantile(expected, _SLOW)


def _histogram(orgs: Iterable[Counts]) -> dict[int, int]:
    found: dict[int, int] = {}
    for counts in orgs:
        for at, count in counts.latency.items():
            found[at] = found.get(at, 0) + count
    return found


def _quantile(histogram: Mapping[int, float], share: float) -> int:
    left = share * sum(histogram.values())
    for at in sorted(histogram):
        left -= histogram[at]
        if left <= 0:
            return at
    return max(histogram)
