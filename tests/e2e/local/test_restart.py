"""A platform that is stopped in the middle of a rollout comes up again, and the rollout goes on."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apx import bootstrap
from apx.catalog.load import load_catalog
from apx.local.platform import Platform, isolated
from apx.rollout.actions import Wish, start
from apx.rollout.active import Active
from apx.settings import Settings
from tests.e2e.platform.trees import copied, edit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    yield made
    shutil.rmtree(made)


async def built(settings: Settings, tree: Path) -> str:
    (one,) = [one async for one in bootstrap.builder(settings, {}).build(load_catalog(tree), ["orders"])]
    return one.digest


async def orders(settings: Settings, digest: str = "") -> Active:
    """Return the record of orders, after the start of a rollout where a digest is given."""
    async with bootstrap.backends(settings) as backends:
        if digest:
            loader = bootstrap.loader(settings)
            await start(backends.rollouts, loader, [Wish(digest=digest)], actor="test", force=True, why="a test")
        return (await backends.rollouts.read()).products["orders"]


def test_a_rollout_goes_on_after_a_stop_though_the_tree_has_changed(folder: Path) -> None:
    tree = copied(folder)
    settings = Settings(home=folder / "home")
    product = tree / "products" / "orders" / "product.yaml"
    with Platform.start(isolated(folder / "home", gitops=tree)):
        edit(product, "title: Orders\n", "title: Orders, next\n")
        digest = asyncio.run(built(settings, tree))
        before = asyncio.run(orders(settings, digest))
    edit(product, "title: Orders, next\n", "title: Orders, after that\n")
    with Platform.start(isolated(folder / "home", gitops=tree)):
        after = asyncio.run(orders(settings))
    assert (after.stable, after.candidate) == (before.stable, digest)
