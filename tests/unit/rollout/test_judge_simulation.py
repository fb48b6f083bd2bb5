"""A few simulated rollouts; `./dev bench judge` runs thousands."""

from __future__ import annotations

from collections import Counter

import pytest

from apx.catalog.model import RolloutSpec
from tests.bench.judge_sim import Ending, Fault, World, by_fixed_thresholds, by_the_judge

SEEDS = range(1, 21)


def ended(fault: Fault, rps: float, seeds: range = SEEDS, *, each_second: bool = False) -> Counter[Ending]:
    return Counter(
        by_the_judge(World(seed, rps, fault, RolloutSpec()), each_second=each_second).ending for seed in seeds
    )


@pytest.mark.parametrize("rps", [5, 50, 500])
def test_a_candidate_that_is_as_good_is_not_aborted(rps: float) -> None:
    assert ended("none", rps)["aborted"] == 0


def test_looking_each_second_aborts_no_good_candidate_either() -> None:
    assert ended("none", 50, range(100, 110), each_second=True) == {"promoted": 10}


@pytest.mark.parametrize("fault", ["broken", "errors", "latency", "denials", "lockout"])
@pytest.mark.parametrize("rps", [5, 50, 500])
def test_a_bad_candidate_is_not_promoted(fault: Fault, rps: float) -> None:
    assert ended(fault, rps, range(200, 210))["promoted"] == 0


@pytest.mark.parametrize("fault", ["broken", "denials", "lockout"])
def test_what_is_certain_is_aborted_soon(fault: Fault) -> None:
    ends = [by_the_judge(World(seed, 500, fault, RolloutSpec())) for seed in SEEDS]
    assert sorted(end.after_s for end in ends if end.ending == "aborted")[len(ends) // 2] < 120


def test_a_world_is_the_same_each_time() -> None:
    first, again = (by_the_judge(World(7, 50, "errors", RolloutSpec())) for _ in range(2))
    assert first == again


def test_a_bad_candidate_is_rolled_back_by_thresholds_after_five_minutes() -> None:
    end = by_fixed_thresholds(World(3, 500, "errors", RolloutSpec()), least_success=0.97)
    assert (end.ending, end.after_s) == ("aborted", 300)
