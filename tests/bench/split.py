"""Which arm serves an org: decisions a second on one core."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from apx.rollout.split import Split
from tests.bench.bench import Bench
from tests.bench.row import Goal, Row, Samples, row

NAMES = ("split", "split-same-org")
ORGS = [f"org-{number:06}" for number in range(100_000)]
GOAL_PER_SECOND = 1_100_000


def rows(bench: Bench) -> Iterator[Row]:
    """Ask for 100,000 orgs in turn, and for one again and again."""
    for name, orgs, note in (
        ("split", ORGS, "100,000 orgs in turn; nothing is remembered."),
        ("split-same-org", ORGS[:1] * len(ORGS), "the same org each time."),
    ):
        rates = Samples(tuple(_rate(orgs) / 1e6 for _ in range(bench.rounds)))
        yield row(
            name,
            rates,
            unit="million/s",
            goal=Goal(at_least=GOAL_PER_SECOND / 1e6),
            note=f"decisions a second on one core: {note}",
        )


def _rate(orgs: Sequence[str]) -> float:
    """Return decisions a second."""
    arm = Split("orders-1", 25.0).arm
    begun = time.perf_counter()
    for org in orgs:
        arm(org)
    return len(orgs) / (time.perf_counter() - begun)
