"""A bad candidate on a running platform: from the first bad answer that a client got to the last one."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp

from apx import bootstrap
from apx.bootstrap import Backends
from apx.catalog.load import load_catalog
from apx.local.platform import Platform
from apx.rollout.actions import Wish, start
from apx.rollout.active import Active
from apx.settings import Settings
from tests.bench.bench import Bench, NotMeasured
from tests.bench.row import Goal, Row, once, row
from tests.bench.trees import ORDER, bench_tree
from tests.e2e.platform.trees import with_orgs

NAMES = ("abort-denials-50rps", "abort-denials-5rps", "abort-errors-50rps", "abort-errors-5rps")
ORGS = [f"org-{number:02}" for number in range(100)]
BEFORE_S = 8.0
"""Traffic under the stable release alone: what the judge compares with."""
MOST_S = 240.0
_GOOD = (200, 201, 202)
_ALLOW = "else := answers.allow({"
_LOCKED_OUT = f'else := answers.deny("closed", "Closed by mistake.") if startswith(input.org, "org-")\n\n{_ALLOW}'
_FAULTS = {
    "denials": ("policies/products/orders/policy.rego", _ALLOW, _LOCKED_OUT),
    "errors": ("products/orders/product.yaml", "x-served-for: apx", 'x-demo-fail: "500"'),
}
"""File, what stands in it, and the mistake that is made there."""
_STEPS = (
    "in all, by default steps (5 % of 100 orgs first), shadow off. Flagger's example aborts after five looks, 300 s."
)


def rows(bench: Bench) -> Iterator[Row]:
    """Roll out one bad candidate after the other."""
    tree = with_orgs(bench_tree(bench.folder / "gitops"), ORGS)
    product = tree / "products" / "orders" / "product.yaml"
    product.write_text(product.read_text() + "  rollout:\n    shadow:\n      share_percent: 0\n")
    platform = bench.platform("abort", tree)
    for name, goal_s in zip(NAMES, (15, 60, 15, 60), strict=True):
        _, fault, rate = name.split("-")
        seconds, bad, to_zero_s = asyncio.run(_measured(platform, tree, fault, float(rate.removesuffix("rps"))))
        yield row(
            name,
            once(seconds),
            unit="s",
            goal=Goal(at_most=goal_s),
            less_is_better=True,
            note=f"{bad} bad answers in it; weight 0 in the store {to_zero_s:.1f} s after the first. Every request "
            f"that the candidate gets is bad; {rate.removesuffix('rps')} a second {_STEPS}",
        )


async def _measured(platform: Platform, tree: Path, fault: str, per_second: float) -> tuple[float, int, float]:
    settings = Settings(home=platform.home)
    async with bootstrap.backends(settings) as backends, aiohttp.ClientSession() as session:
        bad: list[float] = []
        flow = asyncio.create_task(_flow(session, platform, per_second, bad))
        try:
            await asyncio.sleep(BEFORE_S)
            digest = await _built(settings, tree, fault)
            wish = [Wish(digest=digest)]
            await start(
                backends.rollouts, bootstrap.loader(settings), wish, actor="bench", force=True, why="to be taken back"
            )
            ended_at = await _aborted(backends, digest)
            await asyncio.sleep(2.0)  # what still comes is bad too late
        finally:
            flow.cancel()
            await asyncio.gather(flow, return_exceptions=True)
    if not bad:
        raise NotMeasured("no client got a bad answer")
    return bad[-1] - bad[0], len(bad), ended_at - bad[0]


async def _built(settings: Settings, tree: Path, fault: str) -> str:
    """Build a candidate with a fault, and put the tree right again."""
    where, before, after = _FAULTS[fault]
    path = tree / where
    text = path.read_text()
    path.write_text(text.replace(before, after))
    try:
        builder = bootstrap.builder(settings, {})
        (built,) = [one async for one in builder.build(load_catalog(tree), ["orders"])]
    finally:
        path.write_text(text)
    return built.digest


async def _aborted(backends: Backends, digest: str) -> float:
    """Return when the candidate had weight 0 in the store, on the monotonic clock."""
    async with asyncio.timeout(MOST_S):
        async for snapshot in backends.rollouts.watch():
            active: Active = snapshot.products["orders"]
            if active.rollout is not None and active.rollout.candidate == digest and active.candidate is None:
                if active.rollout.state != "aborted":
                    raise NotMeasured(f"the rollout is {active.rollout.state}: {active.rollout.reason}")
                return time.monotonic()
    raise NotMeasured("the store told of no end")


async def _flow(session: aiohttp.ClientSession, platform: Platform, per_second: float, bad: list[float]) -> None:
    """Place orders of all orgs in turn; note when a bad answer came: a refusal, or a request that failed."""
    begun, calls = time.monotonic(), set[asyncio.Task[None]]()

    async def order(org: str) -> None:
        headers = {"x-api-key": platform.keys[org], "content-type": "application/json", "prefer": "wait=10"}
        with suppress(aiohttp.ClientError):  # the platform is being stopped
            async with session.post(f"{platform.edge}/orders/", data=ORDER, headers=headers) as answer:
                await answer.read()
                if answer.status not in _GOOD:
                    bad.append(time.monotonic())

    for number, org in enumerate(itertools.cycle(ORGS)):
        await asyncio.sleep(max(0.0, begun + number / per_second - time.monotonic()))
        call = asyncio.create_task(order(org))
        calls.add(call)
        call.add_done_callback(calls.discard)
