"""The CLI in this process, over adapters in this process."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from apx.backends.files.blobs import FileBlobs
from apx.backends.files.releases import FileReleaseStore
from apx.backends.memory.audit import MemoryAudit
from apx.backends.memory.bus import MemoryBus
from apx.backends.memory.counts import MemoryCounts
from apx.backends.memory.keys import MemoryKeys
from apx.backends.memory.leases import MemoryLeases
from apx.backends.memory.limits import MemoryLimits
from apx.backends.memory.members import MemoryMembers
from apx.backends.memory.orgs import MemoryOrgs
from apx.backends.memory.results import MemoryResults
from apx.backends.memory.rollouts import MemoryRollouts
from apx.backends.memory.webhooks import MemoryWebhooks
from apx.bootstrap import Backends
from apx.cli.main import main
from apx.clock import SystemClock
from apx.rollout.objectives import DayObjectives
from tests.unit.cli.ran import Ran, Run

GITOPS = Path(__file__).parents[3] / "gitops"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the CLI in this process, on an empty data folder."""
    monkeypatch.setenv("APX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APX_GITOPS", str(GITOPS))

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["apx", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backends:
    """Adapters in process, in place of the store's."""
    results, rollouts, counts = MemoryResults(SystemClock()), MemoryRollouts(), MemoryCounts()
    bus = MemoryBus(results, SystemClock(), idle_s=0.01)
    backends = Backends(
        keys=MemoryKeys(),
        rollouts=rollouts,
        bus=bus,
        results=results,
        blobs=FileBlobs(tmp_path / "blobs"),
        releases=FileReleaseStore(tmp_path / "home" / "releases"),
        counts=counts,
        objectives=DayObjectives(counts, rollouts.now_ms),
        leases=MemoryLeases(),
        limits=MemoryLimits(SystemClock()),
        audit=MemoryAudit(),
        orgs=MemoryOrgs(),
        members=MemoryMembers(),
        webhooks=MemoryWebhooks(),
        ended=bus.usage.reader("webhooks"),
    )

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[Backends]:
        yield backends

    monkeypatch.setattr("apx.bootstrap.backends", opened)
    return backends
