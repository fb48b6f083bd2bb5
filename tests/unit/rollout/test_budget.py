"""The error budget of the last day."""

from __future__ import annotations

import pytest

from apx.catalog.model import Slo
from apx.rollout.budget import LEAST_ANSWERS, Budget, budget_of
from apx.rollout.counts import Counts

SLO = Slo(availability_percent=99.0)


def seen(answers: int, errors: int) -> Counts:
    return Counts(answers=answers, errors=errors, latency={})


def found(*counts: Counts) -> Budget:
    budget = budget_of(SLO, counts)
    assert budget is not None
    return budget


@pytest.mark.parametrize(("errors", "spent"), [(0, 0.0), (50, 0.5), (100, 1.0), (400, 4.0)])
def test_it_is_spent_as_failures_use_up_what_the_slo_allows(errors: int, spent: float) -> None:
    assert found(seen(4_000, 0), seen(6_000, errors)).spent == pytest.approx(spent)


def test_few_answers_tell_nothing() -> None:
    assert budget_of(SLO, [seen(LEAST_ANSWERS - 1, LEAST_ANSWERS - 1)]) is None


def test_it_says_what_was_counted() -> None:
    assert found(seen(10_000, 150)).text == "1.50 % of 10000 answers failed in the last day, 1.00 % may"
