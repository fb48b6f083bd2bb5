"""One platform for the tests of this folder that only call it; those that harm theirs start their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest

from apx.local.platform import Platform, isolated
from tests.e2e.platform.client import Client


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """Return the platform; on Google's emulators for the tests that ask for `gcp`."""
    home = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    backends: Literal["local", "gcp"] = getattr(request, "param", "local")
    everything = {"APX_TRACE_SAMPLE_PERCENT": "100", "APX_EDGE_LOG_SAMPLE_PERCENT": "100", "APX_LOG_LEVEL": "debug"}
    # A busy machine may stand still for over a second, and its disk for as long.
    patient = {"APX_EDGE_ADMIT_TIMEOUT_S": "8", "APX_ROUTER_LIMITS_TIMEOUT_S": "5"}
    with Platform.start(isolated(home, backends=backends), env=everything | patient) as platform:
        yield platform
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def acme(platform: Platform) -> Iterator[Client]:
    with Client(platform, "acme") as client:
        yield client


@pytest.fixture(scope="session")
def globex(platform: Platform) -> Iterator[Client]:
    with Client(platform, "globex") as client:
        yield client


@pytest.fixture
def control(platform: Platform) -> Iterator[httpx.Client]:
    """Return the control API, as its admin asks it."""
    headers = {"authorization": f"Bearer {platform.admin_token}"}
    with httpx.Client(base_url=f"{platform.control}/api/v1", headers=headers, timeout=30, trust_env=False) as client:
        yield client
