"""A product's error budget: how much of what its SLO allows to fail has failed.

Where the numbers come from, and over which window, is the `Objectives` port's (`objectives.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from apx.catalog.model import Slo
from apx.rollout.counts import Counts

LEAST_ANSWERS = 1_000
"""With fewer a single failure would spend it."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to fail; `spent` is 1 when nothing is."""

    spent: float
    text: str
    """For an operator: what was counted, and over which window."""
    doubt: str = ""
    """Why the source that should have been asked was not heard, and another was; empty where it was."""

    @property
    def told(self) -> str:
        """All of it, for an operator."""
        return f"{self.text}; {self.doubt}" if self.doubt else self.text


def budget_of(slo: Slo, seen: Iterable[Counts]) -> Budget | None:
    """Return the budget from what was counted in the last day; None where that is too little to tell."""
    total = Counts(latency={})
    for counts in seen:
        total.add(counts)
    return budget(slo, total.answers, total.errors, window="the last day")


def budget(slo: Slo, answers: int, errors: int, *, window: str) -> Budget | None:
    """Return the budget from so many answers, `errors` of them failures; None under `LEAST_ANSWERS`."""
    if answers < LEAST_ANSWERS:
        return None
    failed = 100 * errors / answers
    allowed = 100 - slo.availability_percent
    text = f"{failed:.2f} % of {answers} answers failed in {window}, {allowed:.2f} % may"
    return Budget(spent=failed / allowed, text=text)
