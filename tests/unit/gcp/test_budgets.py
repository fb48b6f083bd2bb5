"""Which source of error budgets an installation on Google Cloud has."""

from __future__ import annotations

import pytest

from apx.backends.gcp import emulators
from apx.backends.memory.counts import MemoryCounts
from apx.backends.memory.rollouts import MemoryRollouts
from apx.bootstrap import google
from apx.catalog.model import Slo
from apx.rollout.counts import Counts
from apx.rollout.objectives import DayObjectives

SLO = Slo(availability_percent=99.0)


async def day() -> DayObjectives:
    """The last day of a product of whose answers half of what may fail has failed."""
    counts = MemoryCounts()
    await counts.write("worker-1", {"orders": {("sha256:" + "a" * 64, "acme"): Counts(answers=2_000, errors=10)}})
    return DayObjectives(counts, MemoryRollouts().now_ms)


async def test_on_emulators_where_nobody_takes_metrics_in_it_is_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(emulators.FIRESTORE, "127.0.0.1:1")
    async with google.objectives_of("apx-test", await day()) as objectives:
        assert isinstance(objectives, DayObjectives)


async def test_a_process_without_an_identity_goes_by_the_day_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(emulators.FIRESTORE, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/at-all.json")
    async with google.objectives_of("apx-test", await day()) as objectives:
        found = await objectives.spent("orders", SLO)
    assert found is not None
    assert found.spent == pytest.approx(0.5)
    assert "of 30 days nothing is known: asking Cloud Monitoring: Google refused this process" in found.doubt
