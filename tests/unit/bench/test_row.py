from __future__ import annotations

import pytest

from tests.bench.row import Goal, Samples, interleaved, percentile, row


def test_a_value_is_the_median_with_the_range_beside_it() -> None:
    made = row("accept", Samples((5.0, 1.0, 9.0)), unit="req/s")
    assert (made.value, made.range) == (5.0, (1.0, 9.0))


@pytest.mark.parametrize(("less_is_better", "ratio"), [(False, 0.25), (True, 4.0)])
def test_a_ratio_says_how_many_times_as_good_as_the_peer(less_is_better: bool, ratio: float) -> None:  # noqa: FBT001
    made = row("x", Samples((2.0,)), Samples((8.0,)), unit="", less_is_better=less_is_better)
    assert made.ratio == ratio


def test_a_goal_is_met_only_when_all_of_it_is() -> None:
    goal = Goal(ratio_from=20, at_most=50)
    assert goal.met(40.0, 25.0)
    assert not goal.met(60.0, 25.0)
    assert not goal.met(40.0, 19.0)
    assert not goal.met(40.0, None)


def test_without_a_goal_nothing_is_met_or_missed() -> None:
    assert row("x", Samples((2.0,)), unit="s").met is None


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = interleaved({"ours": lambda: side("a"), "peer": lambda: side("b")}, 3)
    assert order == ["a", "b"] * 3
    assert found["peer"].values == (2.0, 4.0, 6.0)


def test_the_highest_percentile_is_the_last_value() -> None:
    assert percentile([1.0, 2.0, 3.0], 100) == 3.0
