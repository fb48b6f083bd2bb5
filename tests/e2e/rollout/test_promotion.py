"""From a merge to the verdict, by the very commands of the workflow, with a bare repository as the host."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apx.local.platform import REPOSITORY
from apx.local.repository import commit_tree, repository
from examples.demo_rollout.repository import Clone
from tests.e2e.platform.trees import edit
from tests.e2e.rollout.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture
def clone(world: World, tmp_path: Path) -> Clone:
    """A clone of the repository as it is when a branch has been merged."""
    commit_tree(world.platform.home, world.tree)
    return Clone(repository(world.platform.home), tmp_path / "clone")


async def promoted(world: World, clone: Clone, commit: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **world.platform.settings.environment(), "APX_GITOPS": str(clone.gitops)}
    words = [sys.executable, "-m", "checks.promotion", commit]
    return await asyncio.to_thread(
        subprocess.run, words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=180, check=False
    )


async def test_a_merge_becomes_what_serves(world: World, clone: Clone) -> None:
    edit(clone.gitops / "products" / "orders" / "product.yaml", "title: Orders\n", "title: Orders, merged\n")
    commit = clone.commit("Name orders better")
    async with world.traffic():
        done = await promoted(world, clone, commit)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "success: every rollout of this commit was promoted" in done.stdout
    active = await world.active()
    assert active.rollout is not None
    assert (active.rollout.state, active.rollout.commit) == ("promoted", commit)


async def test_a_merge_that_fails_its_verdict_fails_the_workflow_and_is_reverted_in_the_repository(
    world: World, clone: Clone
) -> None:
    policy = clone.gitops / "policies" / "products" / "orders" / "policy.rego"
    bad = 'else := answers.deny("closed", "Closed.") if startswith(input.org, "org-1")\n\nelse := answers.allow({'
    edit(policy, "else := answers.allow({", bad)
    commit = clone.commit("Close by mistake")
    async with world.traffic():
        done = await promoted(world, clone, commit)
    assert done.returncode == 2, done.stdout + done.stderr
    rollout = await world.until(lambda one: one.revert is not None and one.revert.state != "wanted", within_s=20)
    assert rollout.revert is not None
    assert rollout.revert.state == "open", rollout.revert.detail
    branch = rollout.revert.where.split(" ")[0]
    assert "Revert orders" in clone.shown(branch)


async def test_a_merge_that_does_not_validate_starts_nothing(world: World, clone: Clone) -> None:
    before = await world.active()
    edit(clone.gitops / "products" / "orders" / "product.yaml", "base_path: /orders", "base_path: /metrics")
    done = await promoted(world, clone, clone.commit("Break it"))
    assert done.returncode == 1
    assert "belongs to APX itself" in done.stdout + done.stderr
    assert await world.active() == before
