from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.catalog.model import Rate
from apx.clock import ManualClock
from apx.limits.bucket import Buckets

TEN = Rate(per_second=10, burst=5)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def buckets(clock: ManualClock) -> Buckets:
    return Buckets(clock)


def test_a_full_bucket_gives_its_burst_and_no_more(buckets: Buckets) -> None:
    assert [buckets.take("a", TEN).allowed for _ in range(6)] == [True] * 5 + [False]


def test_what_is_left_is_told_in_whole_tokens(buckets: Buckets) -> None:
    assert [buckets.take("a", TEN).remaining for _ in range(6)] == [4, 3, 2, 1, 0, 0]


def test_a_bucket_refills_at_its_rate(buckets: Buckets, clock: ManualClock) -> None:
    buckets.take("a", TEN, 5)
    clock.advance(0.3)
    assert [buckets.take("a", TEN).allowed for _ in range(4)] == [True, True, True, False]


def test_a_bucket_is_never_fuller_than_full(buckets: Buckets, clock: ManualClock) -> None:
    buckets.take("a", TEN)
    clock.advance(1e6)
    assert sum(buckets.take("a", TEN).allowed for _ in range(20)) == 5


def test_buckets_do_not_share(buckets: Buckets) -> None:
    buckets.take("a", TEN, 5)
    assert buckets.take("b", TEN).allowed


def test_a_cost_is_taken_whole_or_not_at_all(buckets: Buckets) -> None:
    buckets.take("a", TEN, 3)
    assert not buckets.take("a", TEN, 3).allowed
    assert buckets.take("a", TEN, 2).allowed


def test_a_cost_of_nothing_takes_nothing(buckets: Buckets) -> None:
    buckets.take("a", TEN, 5)
    assert buckets.take("a", TEN, 0).allowed
    assert not buckets.take("a", TEN, 1).allowed


def test_a_cost_above_the_burst_never_fits(buckets: Buckets) -> None:
    taken = buckets.take("a", TEN, 5.5)
    assert (taken.allowed, taken.retry_after_s, taken.remaining) == (False, math.inf, 5)


def test_reset_is_when_the_bucket_is_full_again(buckets: Buckets, clock: ManualClock) -> None:
    taken = buckets.take("a", TEN, 3)
    clock.advance(taken.reset_s)
    assert sum(buckets.take("a", TEN).allowed for _ in range(20)) == 5


def test_an_allowed_take_asks_for_no_wait(buckets: Buckets) -> None:
    assert buckets.take("a", TEN).retry_after_s == 0


def test_a_jump_of_the_wall_clock_gives_nothing_away() -> None:
    class Jumping(ManualClock):
        hours = 0

        def time(self) -> float:
            self.hours += 1
            return super().time() + 3600 * self.hours

    buckets = Buckets(Jumping())
    buckets.take("a", TEN, 5)
    assert not buckets.take("a", TEN).allowed


@pytest.mark.parametrize("per_second", [5e-324, 1e-310, 1e-300, 1e-12])
def test_the_slowest_rate_still_ends_at_its_burst(buckets: Buckets, per_second: float) -> None:
    rate = Rate(per_second=per_second, burst=3)
    assert sum(buckets.take("a", rate).allowed for _ in range(10)) <= 3


def test_a_hammered_bucket_is_not_forgotten_for_others(clock: ManualClock) -> None:
    buckets = Buckets(clock, most=10)
    buckets.take("hammered", TEN, 5)
    for n in range(100):
        buckets.take(f"other {n}", TEN)
        assert not buckets.take("hammered", TEN).allowed


def test_memory_is_bounded_by_forgetting_the_longest_unused(clock: ManualClock) -> None:
    buckets = Buckets(clock, most=10)
    for n in range(100):
        buckets.take(f"{n}", TEN, 5)
    assert [n for n in range(100) if not buckets.take(f"{n}", TEN, 5).allowed] == []
    assert [n for n in range(90, 100) if buckets.take(f"{n}", TEN, 5).allowed] == []


_rates = st.builds(
    Rate,
    per_second=st.floats(0.01, 1_000_000, allow_nan=False),
    burst=st.integers(1, 1_000_000),
)
_costs = st.floats(0, 50, allow_nan=False)
_steps = st.lists(st.tuples(st.floats(0, 100, allow_nan=False), _costs), min_size=1, max_size=60)


@given(_rates, _steps)
def test_no_run_takes_more_than_burst_and_refill(rate: Rate, steps: list[tuple[float, float]]) -> None:
    clock = ManualClock()
    buckets = Buckets(clock)
    taken = 0.0
    for pause_s, cost in steps:
        clock.advance(pause_s)
        taken += cost if buckets.take("a", rate, cost).allowed else 0
        assert taken <= rate.burst + rate.per_second * clock.monotonic() + _slack(rate, clock)


@given(_rates, _steps)
def test_a_refusal_means_that_the_tokens_are_not_there(rate: Rate, steps: list[tuple[float, float]]) -> None:
    clock = ManualClock()
    buckets, tokens, last = Buckets(clock), float(rate.burst), 0.0
    for pause_s, cost in steps:
        clock.advance(pause_s)
        tokens = min(rate.burst, tokens + (clock.monotonic() - last) * rate.per_second)
        last = clock.monotonic()
        if buckets.take("a", rate, cost).allowed:
            tokens -= cost
        else:
            assert tokens < cost + _slack(rate, clock)


@given(_rates, _steps)
def test_after_retry_after_the_take_is_allowed(rate: Rate, steps: list[tuple[float, float]]) -> None:
    clock = ManualClock()
    buckets = Buckets(clock)
    for pause_s, cost in steps:
        clock.advance(pause_s)
        refused = buckets.take("a", rate, cost)
        if refused.allowed or refused.retry_after_s == math.inf:
            continue
        clock.advance(refused.retry_after_s)
        assert buckets.take("a", rate, cost).allowed


@given(_rates, _steps)
def test_retry_after_is_no_longer_than_needed(rate: Rate, steps: list[tuple[float, float]]) -> None:
    for pause_s, cost in steps:
        clock = ManualClock()
        buckets = Buckets(clock)
        buckets.take("a", rate, min(rate.burst, pause_s))
        refused = buckets.take("a", rate, cost)
        if refused.allowed or refused.retry_after_s == math.inf:
            continue
        clock.advance(refused.retry_after_s * 0.99 - 1e-6)
        assert not buckets.take("a", rate, cost).allowed


@given(_rates, _costs)
def test_what_remains_can_be_taken_and_one_more_cannot(rate: Rate, cost: float) -> None:
    buckets = Buckets(ManualClock())
    remaining = buckets.take("a", rate, cost).remaining
    assert 0 <= remaining <= rate.burst
    assert buckets.take("a", rate, remaining).allowed
    assert not buckets.take("a", rate, 1 + 1e-6 * rate.burst).allowed


def _slack(rate: Rate, clock: ManualClock) -> float:
    """What rounding may give away, in tokens: a nanosecond, and the doubles' own steps."""
    return rate.per_second * (2e-9 + clock.monotonic() * 1e-13) + rate.burst * 1e-9
