"""Which orgs a candidate serves."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.rollout.split import Split

ORGS = [f"org-{number}" for number in range(100_000)]


def served(rollout: str, weight: float, orgs: list[str] = ORGS) -> set[str]:
    split = Split(rollout, weight)
    return {org for org in orgs if split.arm(org) == "candidate"}


@pytest.mark.parametrize("weight", [1.0, 5.0, 25.0, 50.0, 99.0])
def test_the_share_is_the_weight(weight: float) -> None:
    assert abs(len(served("orders-1", weight)) / len(ORGS) * 100 - weight) < 1


@pytest.mark.parametrize(("weight", "count"), [(0.0, 0), (100.0, 1000)])
def test_none_is_none_and_all_is_all(weight: float, count: int) -> None:
    assert len(served("orders-1", weight, ORGS[:1000])) == count


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6).map(sorted), st.text(max_size=20))
def test_a_growing_weight_takes_no_org_back(weights: list[float], rollout: str) -> None:
    shares = [served(rollout, weight, ORGS[:200]) for weight in weights]
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(shares))


def test_an_org_is_where_it_is_in_every_process_and_every_version() -> None:
    assert served("orders-1", 25.0, ORGS[:20]) == {"org-0", "org-12", "org-7", "org-8"}


def test_another_rollout_begins_with_other_orgs() -> None:
    first, second = served("orders-1", 5.0), served("orders-2", 5.0)
    assert len(first & second) / len(first) < 0.1
