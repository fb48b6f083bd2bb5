"""Holding a candidate's orgs against what the stable release did, and does, for an org like them.

A candidate fails where it is worse for certain, and passes where it is not worse for certain; between them it waits.
What the stable release does meanwhile is the witness: what befalls both, an outage of the backend, is neither the
candidate's fault nor a proof of its health.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import msgspec

from apx.rollout.confidence import divergence, log_evidence_above, log_evidence_below, lower, upper
from apx.rollout.limits import ORG_POINTS, Bars, Chances, about, figures, named, number, percent, points
from apx.rollout.model import Evidence, Interval, Outcome
from apx.rollout.reference import NOTHING, Share, Total, Trials, lifted, prior_of, raised, shares, total

_ORG_TIMES = 3.0
"""One org decides alone only when its own rate has more than quadrupled, too: it may treble by itself for a minute."""
_MOST_ORG_BAR = 0.9
_GRID = tuple(at / 8 for at in range(9))
"""Where, between what was seen and the furthest that it may be, the true rates are tried."""
_ROUGHLY = 2.5
"""What the mixture costs beside the best alternative, in nats: for saying how many answers are waited for."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One measure: what was seen of it by org."""

    measure: Literal["errors", "latency"]
    candidate: Trials
    stable: Trials
    before: Trials


def compared(case: Case, bars: Bars, chances: Chances) -> Evidence:
    """Say what a measure says of the candidate; `case.candidate` has trials."""
    return _Comparison(case, bars, chances).evidence()


class _Comparison:
    def __init__(self, case: Case, bars: Bars, chances: Chances) -> None:
        self._measure, self._bars = case.measure, bars
        prior = prior_of(case.before)
        if prior is NOTHING:
            prior = prior_of(case.stable)
        self._known = prior is not NOTHING
        self._shares = shares(case.candidate, case.before, prior)
        self._all = total(self._shares)
        self._stable = total(shares(case.stable, case.before, prior))
        # It fails by all orgs or by one. By one, three things must hold at once: the candidate's bound, the org's past,
        # and what the stable release does now.
        self._fail, self._fail_org = chances.fail / 2, chances.fail / 4
        self._fail_past = self._fail_now = chances.fail / 8
        self._pass, self._pass_past, self._pass_now = chances.passing / 2, chances.passing / 4, chances.passing / 4
        self._raised_most = _raised_most(self._stable, self._fail_now)
        self._raised_least = _raised_least(self._stable, self._pass_now, self._pass_past)
        self._usual_low = self._all.low(self._pass_past)
        self._usual_high = self._all.high(self._fail_past)
        self._high = upper(self._all.events, self._all.trials, self._pass)

    def evidence(self) -> Evidence:
        if (found := self._failing()) is not None:
            return found
        limit = self._bars.more_now if self._bars.more_now is not None else self._bars.most or 0.0
        if self._passes():
            how = f"at most {points(limit)} above" if self._bars.more_now is not None else f"at most {percent(limit)}"
            return self._say("pass", f"{self._figures()}: {how}", limit)
        return self._say("inconclusive", self._awaited(limit), limit)

    def _failing(self) -> Evidence | None:
        """Return why it fails, if it does."""
        bars = self._bars
        if bars.more is not None and self._beyond_doubt(bars.more):
            return self._say("fail", f"{self._figures()}: more than {points(bars.more)} above", bars.more)
        if bars.most is not None and self._over(bars.most):
            return self._say("fail", f"{self._figures()}: over {percent(bars.most)}", bars.most)
        if bars.more is not None:
            for share in self._shares:
                if share.more > ORG_POINTS * share.trials and self._locked_out(share):
                    return self._of(share)
        return None

    def _beyond_doubt(self, more: float) -> bool:
        """Tell whether the candidate is worse by `more`, with and without the org that contributes most."""
        return self._without_the_worst(lambda these: self._worse(these, more))

    def _worse(self, these: Total, more: float) -> bool:
        """Tell whether these orgs are worse, wherever their usual rate and the stable release's present one may be.

        For the true ones the three pieces of evidence are (super)martingales of distinct events, and so is their
        product: it is enough that no pair of rates leaves less than is asked for. Three bounds side by side, each right
        by itself, would ask for more.
        """
        enough = -math.log(self._fail)
        stable, usual, worth = self._stable, these.rate, these.worth
        now = stable.events / stable.trials if stable.trials else 0.0
        # Far enough that what refutes the furthest rate is enough by itself.
        widest = these.high(self._fail / 80) - usual
        widest_now = upper(stable.events, stable.trials, self._fail / 4) - now if stable.trials else 0.0
        for at in _GRID:
            rate = usual + at * widest
            past = _half(log_evidence_below(usual * worth, worth, rate))
            for at_now in _GRID if stable.trials else _GRID[:1]:
                then = now + at_now * widest_now
                meanwhile = _half(log_evidence_below(stable.events, stable.trials, then)) if stable.trials else 0.0
                bar = lifted(rate, raised(stable.rate, then)) + more
                if _half(log_evidence_above(these.events, these.trials, bar)) + past + meanwhile < enough:
                    return False
        return True

    def _over(self, most: float) -> bool:
        """Tell whether the candidate is over the limit and the stable release is not, nor was for these orgs."""
        if self._stable.trials and upper(self._stable.events, self._stable.trials, self._fail_now) > most:
            return False
        if len(self._shares) == 1:
            return lower(self._all.events, self._all.trials, self._fail_org) > most and self._locked_out(
                self._shares[0]
            )
        return self._without_the_worst(
            lambda these: (
                lower(these.events, these.trials, self._fail_org)
                > max(most, these.high(self._fail_past) if self._known else 0.0)
            )
        )

    def _without_the_worst(self, holds: Callable[[Total], bool]) -> bool:
        if len(self._shares) == 1 or not holds(self._all):
            return False
        return holds(self._all.without(max(self._shares, key=lambda share: share.more)))

    def _locked_out(self, share: Share) -> bool:
        bar = lifted(_org_bar(share, self._fail_past), self._raised_most)
        return log_evidence_above(share.events, share.trials, bar) >= math.log(len(self._shares) / self._fail_org)

    def _passes(self) -> bool:
        """Tell whether it is within the step's limits for certain."""
        now, most = self._bars.more_now, self._bars.most
        if most is not None:
            usual = self._usual_high if self._known else 0.0
            if self._high > max(most, usual):
                return False
        return now is None or self._high <= self._floor(now) + now

    def _floor(self, limit: float) -> float:
        """Return the least that the stable release would have had for these orgs.

        It falls with the stable release's rate, and rises with it by no more than the limit: while the backend fails
        both, nothing passes.
        """
        low = self._usual_low
        stable = self._stable
        if stable.trials and stable.expected:
            low *= min(1.0, upper(stable.events, stable.trials, self._pass_now) / stable.rate)
        return lifted(low, self._raised_least if self._raised_least <= limit else 0.0)

    def _awaited(self, limit: float) -> str:
        """Say what a pass waits for."""
        seen, bar = self._all, limit
        if self._bars.more_now is not None:
            if self._raised_least > limit:
                then, now = self._stable.rate, self._stable.events / self._stable.trials
                return (
                    f"{self._measure}: the stable release has {percent(now)} instead of {percent(then)} as well: held "
                    "until that is over"
                )
            bar = self._floor(limit) + limit
        usual = seen.rate if self._known else 0.0
        told = divergence(usual, bar) if usual < bar else 0.0
        needed = (math.log(1 / self._pass) + _ROUGHLY) / told if told else math.inf
        if seen.trials < needed < math.inf:
            return f"{self._measure}: {seen.trials} of about {about(needed)} answers seen"
        if not told:
            return f"{self._figures()}: too little is known of these orgs under the stable release"
        return f"{self._figures()}: not yet certain to be within {points(limit)}"

    def _of(self, share: Share) -> Evidence:
        """Say that one org decides."""
        low = lower(share.events, share.trials, self._fail_org / len(self._shares))
        candidate = Interval(
            events=share.events,
            requests=share.trials,
            low=low,
            high=upper(share.events, share.trials, self._pass),
        )
        least, most = share.low(self._fail_past), share.high(self._fail_past)
        text = (
            f"{self._measure} of {named(share.org)}: candidate {figures(candidate)}, stable {percent(share.rate)} "
            f"({number(least)} to {number(most)}): more than {points(ORG_POINTS)} above"
        )
        stable = _interval(share.rate, share.worth, least, most)
        return Evidence(
            measure=self._measure,
            says="fail",
            candidate=candidate,
            stable=stable,
            limit=ORG_POINTS,
            org=share.org,
            text=text,
        )

    def _say(self, outcome: Outcome, text: str, limit: float) -> Evidence:
        return Evidence(
            measure=self._measure,
            says=outcome,
            candidate=self._candidate(),
            stable=self._reference() if self._bars.more is not None else None,
            limit=limit,
            text=text,
        )

    def _candidate(self) -> Interval:
        events, trials = self._all.events, self._all.trials
        return Interval(events=events, requests=trials, low=lower(events, trials, self._fail), high=self._high)

    def _reference(self) -> Interval:
        low = self._floor(self._bars.more_now or 0.0)
        high = lifted(self._usual_high, self._raised_most)
        return _interval(self._all.rate, self._all.worth, low, high)

    def _figures(self) -> str:
        text = f"{self._measure}: candidate {figures(self._candidate())}"
        if self._bars.more is None:
            return text
        stable = self._reference()
        return f"{text}, stable {percent(self._all.rate)} ({number(stable.low)} to {number(stable.high)})"


def _org_bar(share: Share, alpha: float) -> float:
    """Return what an org's own rate must be above to decide alone."""
    return min(_MOST_ORG_BAR, share.high(alpha) + max(ORG_POINTS, _ORG_TIMES * share.rate))


def _half(log_evidence: float) -> float:
    """Return the log of (1 + evidence) / 2: evidence as well, and never much below 1."""
    return max(0.0, log_evidence) + math.log1p(math.exp(-abs(log_evidence))) - math.log(2)


def _raised_most(stable: Total, alpha: float) -> float:
    """Return the largest share of otherwise good answers that the stable release may be failing now.

    A stable release that nobody calls is no witness; then the candidate is held against the past alone.
    """
    if not stable.trials:
        return 0.0
    return raised(stable.rate, upper(stable.events, stable.trials, alpha))


def _raised_least(stable: Total, alpha: float, alpha_past: float) -> float:
    """Return the share of otherwise good answers that the stable release fails now for certain."""
    if not stable.trials:
        return 0.0
    return raised(stable.high(alpha_past), lower(stable.events, stable.trials, alpha))


def _interval(rate: float, worth: float, low: float, high: float) -> Interval:
    trials = max(1, round(worth))
    return Interval(events=round(rate * trials), requests=trials, low=min(low, rate), high=max(high, rate))
