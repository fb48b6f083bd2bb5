"""Denials and policy failures: each is put to the stable release's policy too, so there is nothing to compare with.

A denial that the stable policy would have made as well is nobody's fault. One that it would not have made is the
candidate's, whatever the org and the hour: every one counts. Where a router had no time to ask (`compared` is less than
`denied`), what was not asked counts for the candidate when it may fail, and against it when it may pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from apx.rollout.confidence import log_evidence_above, lower, upper
from apx.rollout.counts import Counts
from apx.rollout.limits import ORG_POINTS, Bars, Chances, about, figures, named, percent
from apx.rollout.model import Evidence, Interval, Outcome

_ROUGHLY = 1.0
"""As in `comparison`; less, for here mostly nothing at all is seen."""


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over orgs."""

    requests: int
    denied: int
    compared: int
    newly: int
    failures: int


def denials(orgs: Mapping[str, Counts], carried: Mapping[str, Counts], bars: Bars, chances: Chances) -> Evidence:
    """Say what new denials say of the candidate; `carried` is further evidence for a pass."""
    here, alpha = summed(orgs.values()), chances.fail / 2
    interval = _newly(here, alpha, chances.passing)
    limit, limit_now = _limits(bars)
    if interval.low > limit:
        return _evidence("denials", "fail", interval, limit, f"new denials: {figures(interval)}: over {percent(limit)}")
    if (org := _locked_out(orgs, alpha)) is not None:
        own = _newly(summed([orgs[org]]), alpha / len(orgs), chances.passing)
        text = f"new denials of {named(org)}: {figures(own)}: over {percent(ORG_POINTS)}"
        return _evidence("denials", "fail", own, ORG_POINTS, text, org=org)
    best = _newly(summed([*orgs.values(), *carried.values()]), alpha, chances.passing) if carried else interval
    return _passing("denials", "new denials", min(interval, best, key=lambda one: one.high), limit_now, chances)


def policy_failures(
    orgs: Mapping[str, Counts], carried: Mapping[str, Counts], bars: Bars, chances: Chances
) -> Evidence:
    """Say what the candidate's policy failures say of it; where the stable policy denies as well they do not count."""
    here, alpha = summed(orgs.values()), chances.fail
    interval = _failing(here, alpha, chances.passing)
    limit, limit_now = _limits(bars)
    if interval.low > limit:
        text = f"policy failures: {figures(interval)}: over {percent(limit)}"
        return _evidence("policy-failures", "fail", interval, limit, text)
    best = _failing(summed([*orgs.values(), *carried.values()]), alpha, chances.passing) if carried else interval
    return _passing("policy-failures", "policy failures", min(interval, best, key=_high), limit_now, chances)


def summed(counts: Iterable[Counts]) -> Denied:
    """Add up what the judge needs of some orgs."""
    requests = denied = compared = newly = failures = 0
    for one in counts:
        requests += one.requests
        denied += one.denied
        compared += one.compared
        newly += one.newly_denied
        failures += one.policy_failures
    return Denied(requests=requests, denied=denied, compared=compared, newly=newly, failures=failures)


def _newly(seen: Denied, fail: float, passing: float) -> Interval:
    """Return the share of requests that are newly denied."""
    if seen.compared >= seen.denied:
        low, high = lower(seen.newly, seen.requests, fail), upper(seen.newly, seen.requests, passing)
        return Interval(events=seen.newly, requests=seen.requests, low=low, high=high)
    # Of what was asked, how much is new; of all requests, how many are denied: each bound has half of the chance.
    low = lower(seen.newly, seen.compared, fail / 2) if seen.compared else 0.0
    high = upper(seen.newly, seen.compared, passing / 2)
    return Interval(
        events=round(seen.newly * seen.denied / seen.compared) if seen.compared else 0,
        requests=seen.requests,
        low=low * lower(seen.denied, seen.requests, fail / 2),
        high=high * upper(seen.denied, seen.requests, passing / 2),
    )


def _failing(seen: Denied, fail: float, passing: float) -> Interval:
    """Return the share of requests in which the policy failed and the stable one would have admitted."""
    certain = min(seen.failures, seen.newly)
    possible = min(seen.failures, seen.newly + max(0, seen.denied - seen.compared))
    low, high = lower(certain, seen.requests, fail), upper(possible, seen.requests, passing)
    return Interval(events=certain, requests=seen.requests, low=low, high=high)


def _locked_out(orgs: Mapping[str, Counts], alpha: float) -> str | None:
    """Return an org that is denied beyond doubt what it was admitted to; None when there is none."""
    enough = math.log(max(1, len(orgs)) / alpha)
    for org, seen in orgs.items():
        if (
            seen.newly_denied > ORG_POINTS * seen.requests
            and log_evidence_above(seen.newly_denied, seen.requests, ORG_POINTS) >= enough
        ):
            return org
    return None


def _passing(
    measure: Literal["denials", "policy-failures"], what: str, interval: Interval, limit: float, chances: Chances
) -> Evidence:
    if interval.high <= limit:
        return _evidence(measure, "pass", interval, limit, f"{what}: {figures(interval)}: at most {percent(limit)}")
    needed = (math.log(1 / chances.passing) + _ROUGHLY) / -math.log1p(-limit)
    if interval.requests < needed:
        text = f"{what}: {interval.requests} of about {about(needed)} requests seen"
    else:
        text = f"{what}: {figures(interval)}: not yet certain to be within {percent(limit)}"
    return _evidence(measure, "inconclusive", interval, limit, text)


def _evidence(
    measure: Literal["denials", "policy-failures"],
    says: Outcome,
    candidate: Interval,
    limit: float,
    text: str,
    *,
    org: str = "",
) -> Evidence:
    return Evidence(measure=measure, says=says, candidate=candidate, limit=limit, org=org, text=text)


def _limits(bars: Bars) -> tuple[float, float]:
    return bars.most or 0.0, bars.more_now or 0.0


def _high(interval: Interval) -> float:
    return interval.high
