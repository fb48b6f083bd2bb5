"""What the stable release would have done for the orgs that a candidate serves.

The split is by org, so the two releases never serve the same org at the same time, and orgs differ: one sends requests
that fail, another calls the slow route. A candidate is therefore held against its own orgs' past. Each org's rate is
the one that it had under the stable release, shrunk towards the product's where it has little history (the mean of a
beta distribution whose width is what the orgs' rates vary by, by the method of moments; Kleinman 1973, "Proportions
with extraneous variance"), and the rates are weighted by what the candidate served of each org (direct
standardisation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from apx.rollout.confidence import fixed_high, fixed_low

_LEAST_WORTH, _MOST_WORTH = 5.0, 1000.0
_ONE_ORG_WORTH = 20.0
"""Where a single org has a history, nothing tells how much orgs vary."""


class Seen(NamedTuple):
    """Events in trials of one org."""

    events: int
    trials: int


Trials = Mapping[str, Seen]
"""By org."""


class Prior(NamedTuple):
    """What is expected of an org that nothing is known of, and how many trials of its own that is worth."""

    rate: float
    worth: float


NOTHING = Prior(0.5, 0.0)
"""No history at all: any rate is as likely as another."""


class Share(NamedTuple):
    """What was seen of one org, and what its past lets expect."""

    org: str
    events: int
    trials: int
    rate: float
    """The expected one, in [0, 1]."""
    variance: float
    """How far from it the org's true rate may be."""

    @property
    def more(self) -> float:
        """Return how many events there are beyond those expected."""
        return self.events - self.trials * self.rate

    @property
    def worth(self) -> float:
        """Return how many trials say as much of the expected rate as the org's past does."""
        return self.rate * (1 - self.rate) / self.variance if self.variance else 0.0

    def low(self, alpha: float) -> float:
        """Return what the org's own rate under the stable release is not below, but with a chance of `alpha`."""
        return fixed_low(self.rate, self.worth, alpha)

    def high(self, alpha: float) -> float:
        """Return what it is not above."""
        return fixed_high(self.rate, self.worth, alpha)


class Total(NamedTuple):
    """Several orgs together."""

    events: int
    trials: int
    expected: float
    """Events."""
    variance: float
    """Of `expected`, in squared events."""

    @property
    def rate(self) -> float:
        """Return the expected rate; 0 without trials."""
        return self.expected / self.trials if self.trials else 0.0

    @property
    def worth(self) -> float:
        """Return how many trials of one rate say as much of the expected one as all the history does."""
        rate = self.rate
        return rate * (1 - rate) * self.trials**2 / self.variance if self.variance else 0.0

    def without(self, share: Share) -> Total:
        """Return the others together."""
        return Total(
            self.events - share.events,
            self.trials - share.trials,
            self.expected - share.trials * share.rate,
            max(0.0, self.variance - share.trials**2 * share.variance),
        )

    def low(self, alpha: float) -> float:
        """Return what the stable release's rate for these orgs is not below, but with a chance of `alpha`."""
        return fixed_low(self.rate, self.worth, alpha)

    def high(self, alpha: float) -> float:
        """Return what it is not above."""
        return fixed_high(self.rate, self.worth, alpha)


def prior_of(history: Trials) -> Prior:
    """Return what a product's orgs have in common; `NOTHING` without a history."""
    orgs = [seen for seen in history.values() if seen.trials]
    trials = sum(seen.trials for seen in orgs)
    if not trials:
        return NOTHING
    # Half an event more on either side: that none was seen does not mean that none can be.
    rate = (sum(seen.events for seen in orgs) + 0.5) / (trials + 1)
    spread = sum((seen.events - seen.trials * rate) ** 2 / seen.trials for seen in orgs)
    effective = trials - sum(seen.trials**2 for seen in orgs) / trials
    if effective <= 0:
        return Prior(rate, _ONE_ORG_WORTH)
    between = (spread - (len(orgs) - 1) * rate * (1 - rate)) / effective
    worth = rate * (1 - rate) / between - 1 if between > 0 else _MOST_WORTH
    return Prior(rate, min(_MOST_WORTH, max(_LEAST_WORTH, worth)))


def shares(seen: Trials, history: Trials, prior: Prior) -> list[Share]:
    """Put each org's past beside what was seen of it; orgs without trials are left out."""
    found = []
    none = Seen(0, 0)
    for org, (events, trials) in seen.items():
        if trials:
            past_events, past_trials = history.get(org, none)
            worth = past_trials + prior.worth
            rate = (past_events + prior.rate * prior.worth) / worth if worth else prior.rate
            found.append(Share(org, events, trials, rate, rate * (1 - rate) / (worth + 1)))
    return found


def total(parts: Iterable[Share]) -> Total:
    """Add up orgs, whose rates are taken to be independent."""
    events, trials, expected, variance = 0, 0, 0.0, 0.0
    for _, some, of, rate, width in parts:
        events += some
        trials += of
        expected += of * rate
        variance += of * of * width
    return Total(events, trials, expected, variance)


def raised(usual: float, now: float) -> float:
    """Return the share of what was good that goes bad now; 0 where nothing does."""
    return max(0.0, (now - usual) / (1 - usual)) if usual < 1 else 0.0


def lifted(rate: float, share: float) -> float:
    """Return a rate when a `share` of what else is good goes bad: an outage hits good answers alone."""
    return 1 - (1 - rate) * (1 - share)
