"""One platform for the tests of this folder that only call it; those that harm theirs start their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apx.local.platform import Platform, isolated
from tests.e2e.platform.client import Client


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def platform(home: Path) -> Iterator[Platform]:
    everything = {"APX_TRACE_SAMPLE_PERCENT": "100", "APX_EDGE_LOG_SAMPLE_PERCENT": "100", "APX_LOG_LEVEL": "debug"}
    patient = {"APX_EDGE_ADMIT_TIMEOUT_S": "8"}  # a busy machine may stand still for over a second
    with Platform.start(isolated(home), env=everything | patient) as platform:
        yield platform


@pytest.fixture(scope="session")
def acme(platform: Platform) -> Iterator[Client]:
    with Client(platform, "acme") as client:
        yield client


@pytest.fixture(scope="session")
def globex(platform: Platform) -> Iterator[Client]:
    with Client(platform, "globex") as client:
        yield client
