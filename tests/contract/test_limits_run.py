"""Four routers and many clients on one bucket of a real store, one of the routers killed on the way."""

from __future__ import annotations

import asyncio
import time

import pytest

from apx.backends.valkey.limits import ValkeyLimits
from apx.catalog.model import Rate
from apx.clock import SystemClock
from apx.limits.leases import LOAN_S, Level, Limiter
from apx.limits.windows import Window

from .conftest import Server, connected

RATE = Rate(per_second=400, burst=200)
LEVEL = Level("plan", "k:orders:hot", RATE)
SECONDS, CLIENTS = 6.0, 64


@pytest.mark.timeout(120)
async def test_four_routers_never_exceed_the_limit_and_waste_little_of_it(shared_server: Server) -> None:
    async with connected(shared_server) as client:
        await client.flushall()
        stores = [ValkeyLimits(client) for _ in range(4)]
        routers = [Limiter(store, SystemClock()) for store in stores]
        keeping = [asyncio.create_task(router.keep()) for router in routers]
        loop = asyncio.get_running_loop()
        began = loop.time()
        killed = began + SECONDS / 3
        admitted: list[int] = [0] * 4

        async def asking(number: int) -> None:
            ends = killed if number == 3 else began + SECONDS
            while loop.time() < ends:
                answer = await routers[number].take((LEVEL,), 1.0, "closed")
                if answer.taken.allowed:
                    admitted[number] += 1
                else:
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(asking(number) for number in range(4) for _ in range(CLIENTS)))
        took = loop.time() - began
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        for store in stores:
            await store.aclose()

    limit = RATE.burst + RATE.per_second * took
    lost = RATE.per_second * LOAN_S  # what the killed router held is lost once
    assert sum(admitted) <= limit
    assert sum(admitted) >= 0.97 * limit - lost / 4, f"{sum(admitted)} of {limit:.0f}: {admitted}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("requests", [10, 2_000])
async def test_four_routers_use_a_quota_up_and_not_one_request_more(shared_server: Server, requests: int) -> None:
    async with connected(shared_server) as client:
        await client.flushall()
        stores = [ValkeyLimits(client) for _ in range(4)]
        routers = [Limiter(store, SystemClock()) for store in stores]
        keeping = [asyncio.create_task(router.keep()) for router in routers]
        loop, now = asyncio.get_running_loop(), time.time()
        quota = Level("daily", "q:orders:daily", Window(requests, now - 10, now + 3600), kind="quota")
        began = loop.time()
        admitted: list[int] = [0] * 4

        async def asking(number: int) -> None:
            while loop.time() < began + 4:
                if number == 3 and sum(admitted) > requests / 2:  # killed: what it holds is lost
                    keeping[3].cancel()
                    return
                answer = await routers[number].take((quota,), 1.0, "closed")
                if answer.taken.allowed:
                    admitted[number] += 1
                await asyncio.sleep(0.001 if answer.taken.allowed else 0.05)

        await asyncio.gather(*(asking(number) for number in range(4) for _ in range(8)))
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        for store in stores:
            await store.aclose()
    assert requests * 0.95 - 1 <= sum(admitted) <= requests, admitted
