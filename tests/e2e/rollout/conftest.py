"""One platform for this folder; what a test leaves under way it ends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from apx import bootstrap
from apx.errors import Conflict
from apx.local.platform import Platform, isolated
from apx.rollout.actions import move
from apx.settings import Settings
from tests.e2e.rollout.world import World, tree_of


@pytest.fixture(scope="session")
def rolling() -> Iterator[tuple[Platform, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    try:
        tree = tree_of(folder)
        patient = {"APX_EDGE_ADMIT_TIMEOUT_S": "8"}  # a busy machine may stand still for over a second
        with Platform.start(isolated(folder / "home", gitops=tree), env=patient) as platform:
            yield platform, tree
    finally:
        shutil.rmtree(folder)


@pytest.fixture
async def world(rolling: tuple[Platform, Path]) -> AsyncIterator[World]:
    platform, tree = rolling
    async with bootstrap.backends(Settings(home=platform.home)) as backends:
        world = World(platform, tree, backends)
        yield world
        for product in ("orders", "forecast"):
            try:
                await move(backends.rollouts, product, "abort", actor="test", reason="the test is over")
            except Conflict:
                continue
