from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.rollout.confidence import fixed_high, fixed_low, log_evidence_above, log_evidence_below, lower, upper

ALPHA = 0.05
PATHS, LONG = 400, 400
Evidence = Callable[[float, float, float], float]
Means = Callable[[Random, int, int], float]
"""(random, events so far, at) → the next event's mean."""

trials_and_events = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
alphas = st.sampled_from([0.05, 0.005, 1e-4])
rates = st.floats(0.001, 0.999)


def steady(_random: Random, _events: int, _at: int) -> float:
    return 0.03


def orgs_that_differ(random: Random, _events: int, _at: int) -> float:
    return random.choice([0.001, 0.002, 0.2])


def bursts(_random: Random, _events: int, at: int) -> float:
    return 0.3 if at % 100 < 10 else 0.01


def worse_after_an_event(_random: Random, events: int, _at: int) -> float:
    return 0.02 if events % 2 == 0 else 0.4


def ever_wrong(evidence: Evidence, means: Means) -> float:
    """Return the share of paths on which the true average was refuted at any of the looks, one after each event."""
    wrong = 0
    for seed in range(PATHS):
        random, events, expected = Random(seed), 0, 0.0  # noqa: S311 -- a simulation
        for at in range(1, LONG + 1):
            mean = means(random, events, at)
            expected += mean
            events += random.random() < mean
            if evidence(events, at, expected / at) >= -math.log(ALPHA):
                wrong += 1
                break
    return wrong / PATHS


@pytest.mark.parametrize("means", [steady, orgs_that_differ, bursts, worse_after_an_event])
@pytest.mark.parametrize("evidence", [log_evidence_above, log_evidence_below])
def test_the_true_average_is_rarely_refuted_however_often_one_looks(evidence: Evidence, means: Means) -> None:
    three_sigma = 3 * math.sqrt(ALPHA * (1 - ALPHA) / PATHS)
    assert ever_wrong(evidence, means) <= ALPHA + three_sigma


@given(trials_and_events, alphas)
def test_what_was_seen_lies_within_the_bounds(seen: tuple[int, int], alpha: float) -> None:
    trials, events = seen
    assert 0 <= lower(events, trials, alpha) <= events / trials <= upper(events, trials, alpha) <= 1


@given(trials_and_events, alphas)
def test_a_bound_is_where_the_evidence_is_just_enough(seen: tuple[int, int], alpha: float) -> None:
    trials, events = seen
    bound = lower(events, trials, alpha)
    if bound:
        assert 0 <= log_evidence_above(events, trials, bound) + math.log(alpha) < 0.02


@given(trials_and_events, rates, rates)
def test_the_evidence_is_the_less_the_higher_the_rate_that_it_speaks_against(
    seen: tuple[int, int], one: float, other: float
) -> None:
    trials, events = seen
    low, high = sorted((one, other))
    assert log_evidence_above(events, trials, low) >= log_evidence_above(events, trials, high) - 1e-9


@given(trials_and_events, rates)
def test_evidence_below_is_the_mirror_of_evidence_above(seen: tuple[int, int], rate: float) -> None:
    trials, events = seen
    assert log_evidence_below(events, trials, rate) == log_evidence_above(trials - events, trials, 1 - rate)


@given(trials_and_events.filter(lambda seen: seen[1] < seen[0]), alphas)
def test_another_event_in_place_of_none_raises_both_bounds(seen: tuple[int, int], alpha: float) -> None:
    trials, events = seen
    # To the precision that bounds are found with.
    assert lower(events + 1, trials, alpha) >= lower(events, trials, alpha) * 0.999
    assert upper(events + 1, trials, alpha) >= upper(events, trials, alpha) * 0.999


@given(trials_and_events)
def test_more_certainty_asks_for_wider_bounds(seen: tuple[int, int]) -> None:
    trials, events = seen
    assert lower(events, trials, 1e-4) <= lower(events, trials, 1e-2)
    assert upper(events, trials, 1e-4) >= upper(events, trials, 1e-2)


def test_ten_times_the_trials_narrow_the_bounds_to_a_third() -> None:
    def width(times: int) -> float:
        return upper(10 * times, 200 * times, 0.01) - lower(10 * times, 200 * times, 0.01)

    assert width(1) / 4 < width(10) < width(1) / 2.5


def test_without_trials_nothing_is_known() -> None:
    assert (lower(0, 0, 0.01), upper(0, 0, 0.01)) == (0.0, 1.0)
    assert (fixed_low(0.5, 0, 0.01), fixed_high(0.5, 0, 0.01)) == (0.0, 1.0)


def test_nothing_in_a_thousand_bounds_the_rate_by_a_hundredth() -> None:
    assert 0.004 < upper(0, 1000, 0.005) < 0.01


@pytest.mark.parametrize("rate", [0.005, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("trials", [5, 60, 400])
def test_a_fixed_number_of_trials_bounds_the_rate_as_often_as_it_says(rate: float, trials: int) -> None:
    too_low = too_high = 0.0
    for events in range(trials + 1):
        chance = math.comb(trials, events) * rate**events * (1 - rate) ** (trials - events)
        too_high += chance * (fixed_low(events / trials, trials, ALPHA) > rate)
        too_low += chance * (fixed_high(events / trials, trials, ALPHA) < rate)
    assert max(too_low, too_high) <= ALPHA
