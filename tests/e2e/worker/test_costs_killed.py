"""A worker that is killed between a result and its settled cost, on real stores: what was set aside stays taken."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from valkey.asyncio import Valkey

from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.limits import ValkeyLimits
from apx.backends.valkey.results import ValkeyResults
from apx.limits.store import Want
from apx.limits.windows import Window
from apx.requests.model import Reserved, Result
from examples.demo_backend.record import Record
from examples.demo_backend.server import serving
from tests.contract.conftest import Server, connected, until
from tests.e2e.worker.processes import running
from tests.unit.worker.world import envelope_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SET_ASIDE_USD, BUCKET = 0.5, "b:acme:models:2026-11"
TAKEN = 2 * 500_000
"""Of two requests, in millionths of a dollar."""
CHARGED = {"killed": 0, "alive": 300_000}
"""What comes to it by what becomes of the worker: what is to be given back was sent once, to a store that was full."""


@pytest.fixture
def stores() -> Iterator[tuple[Server, Server]]:
    """Two stores: one of lanes and results, one of budgets."""
    with tempfile.TemporaryDirectory(prefix="apx-") as one, tempfile.TemporaryDirectory(prefix="apx-") as other:
        servers = Server(Path(one)), Server(Path(other))
        try:
            for server in servers:
                server.start()
            yield servers
        finally:
            for server in servers:
                server.kill()


async def set_aside(limits: ValkeyLimits, month: Window) -> None:
    """Take the requests' costs as routers do."""
    for used in (0, TAKEN):
        await limits.exchange("router", [Want(bucket=BUCKET, rate=month, used=used, hold=TAKEN - used)], 60.0)


async def refusals(budgets: Valkey) -> int:
    """Return how often the full store refused something."""
    found = (await budgets.info("errorstats")).get("errorstat_OOM", {"count": 0})
    return int(found["count"])


@pytest.mark.parametrize("fate", CHARGED)
async def test_what_was_set_aside_stays_taken_when_its_settlement_is_lost(
    stores: tuple[Server, Server], fate: str
) -> None:
    lanes, money = stores
    month = Window(10_000_000, time.time() - 60, time.time() + 3600)
    async with connected(lanes) as client, connected(money) as budgets, serving(record=Record()) as port:
        bus, results, limits = ValkeyBus(client), ValkeyResults(client), ValkeyLimits(budgets)
        await set_aside(limits, month)
        await budgets.config_set("maxmemory", "1")  # nothing is settled until it has room again
        async with running("real_worker", lanes.url, str(port), money.url) as worker:
            for tokens, cost_usd in ((100, 0.1), (800, 0.8)):
                asked = envelope_for(
                    "/orders",
                    body=msgspec.json.encode({"tokens": tokens}),
                    cost_usd=SET_ASIDE_USD,
                    reserved=(Reserved(BUCKET, month.ends_s, SET_ASIDE_USD),),
                )
                await bus.publish(asked)
                result = await results.wait(asked.id, 30)
                assert isinstance(result, Result)
                assert (result.state, result.cost_usd) == ("succeeded", cost_usd)
            refused = await refusals(budgets)
            await until(lambda: has_refused(budgets, refused + 2))  # the charge too, which is sent until it is taken
            if fate == "killed":
                worker.kill()
                await worker.wait()
            await budgets.config_set("maxmemory", "0")
            await until(lambda: has_spent(limits, TAKEN + CHARGED[fate]))
            if fate == "alive":
                worker.terminate()
                assert await asyncio.wait_for(worker.wait(), 15) == 0
        async with running("real_worker", lanes.url, str(port), money.url) as another:
            asked = envelope_for("/orders")
            await bus.publish(asked)
            await results.wait(asked.id, 30)
            another.terminate()
            await asyncio.wait_for(another.wait(), 15)
        assert [one.used for one in await limits.spent([BUCKET])] == [TAKEN + CHARGED[fate]]
        await bus.aclose()
        await results.aclose()
        await limits.aclose()


async def has_refused(budgets: Valkey, times: int) -> bool:
    return await refusals(budgets) >= times


async def has_spent(limits: ValkeyLimits, tokens: float) -> bool:
    return [one.used for one in await limits.spent([BUCKET])] == [tokens]
