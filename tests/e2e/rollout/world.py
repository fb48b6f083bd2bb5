"""A platform with enough orgs to split, a tree that may be changed, and traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from apx import bootstrap
from apx.bootstrap import Backends
from apx.catalog.load import load_catalog
from apx.errors import Unavailable
from apx.local.platform import Platform
from apx.local.repository import commit_tree
from apx.rollout.actions import Wish, start
from apx.rollout.active import Active
from apx.rollout.model import Rollout
from apx.settings import Settings
from examples.demo_rollout.traffic import Traffic
from tests.e2e.platform.trees import copied, edit, with_orgs

ORGS = [f"org-{number:02}" for number in range(24)]
QUICK = """  rollout:
    shadow:
      share_percent: 100
      hold_s: 2
    steps:
      - weight_percent: 50
        hold_s: 2
      - weight_percent: 75
        hold_s: 2
    judge:
      more_errors_percent: 10
      new_denials_percent: 5
      policy_failures_percent: 5
      more_slow_percent: 100
    max_hold_s: 120
"""
NO_SHADOW = QUICK.replace("share_percent: 100", "share_percent: 0")


def tree_of(folder: Path) -> Path:
    """Return a copy of the example tree with more orgs and quick rollouts."""
    tree = with_orgs(copied(folder), ORGS)
    for product in ("orders", "forecast"):
        path = tree / "products" / product / "product.yaml"
        path.write_text(path.read_text().rstrip() + "\n" + QUICK)
    return tree


class World:
    """What a test does to a platform, and what it sees."""

    def __init__(self, platform: Platform, tree: Path, backends: Backends) -> None:
        self.platform, self.tree, self.backends = platform, tree, backends
        self.settings = Settings(home=platform.home)
        self.keys = {org: platform.keys[org] for org in ORGS}

    @asynccontextmanager
    async def traffic(self, per_second: float = 60.0) -> AsyncIterator[Traffic]:
        traffic = Traffic(self.platform.edge, self.keys, per_second)
        async with traffic.flowing():
            yield traffic

    async def changed(self, where: str, before: str, after: str, *, product: str = "orders") -> str:
        """Change one place of the tree for a release; return its digest. The tree is as before afterwards."""
        path = self.tree / where
        text = path.read_text()
        edit(path, before, after)
        try:
            commit = await asyncio.to_thread(commit_tree, self.platform.home, self.tree)
            builder = bootstrap.builder(self.settings, {"commit": commit or ""})
            (built,) = [one async for one in builder.build(load_catalog(self.tree), [product])]
        finally:
            path.write_text(text)
        self.commit = commit or ""
        return built.digest

    async def roll_out(self, digest: str) -> None:
        wish = [Wish(digest=digest, commit=self.commit)]
        loader = bootstrap.loader(self.settings)
        (started,) = await start(self.backends.rollouts, loader, wish, actor="test", force=True, why="a test")
        assert started.outcome == "started", started

    async def active(self, product: str = "orders") -> Active:
        return (await self.backends.rollouts.read()).products[product]

    async def until(
        self, holds: Callable[[Rollout], bool], *, product: str = "orders", within_s: float = 60.0
    ) -> Rollout:
        """Return the product's rollout once something holds of it."""
        end, rollout = time.monotonic() + within_s, None
        while time.monotonic() < end:
            try:
                rollout = (await self.active(product)).rollout
            except Unavailable:
                rollout = None
            if rollout is not None and holds(rollout):
                return rollout
            await asyncio.sleep(0.05)
        raise AssertionError(f"it did not come to hold: {rollout}")

    async def releases(self, path: str = "/orders/") -> dict[str, str]:
        """Ask once as each org; return org → release that admitted it."""
        found = {}
        async with aiohttp.ClientSession() as session:
            for org, key in self.keys.items():
                async with session.post(
                    self.platform.edge + path, json={"amount_usd": 5}, headers={"x-api-key": key}
                ) as answer:
                    assert answer.status == 202, await answer.text()
                    found[org] = (await answer.json())["release"]
        return found

    async def forecasts(self) -> dict[str, int]:
        """Ask once as each org for a forecast; return org → status."""
        found = {}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            for org, key in self.keys.items():
                async with session.get(f"{self.platform.edge}/forecast/rome", headers={"x-api-key": key}) as answer:
                    await answer.read()
                    found[org] = answer.status
        return found


def over(rollout: Rollout) -> bool:
    return not rollout.under_way


def in_canary(rollout: Rollout) -> bool:
    return rollout.state == "canary"
