"""Four routers and many clients on one real store, one of the routers killed on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from apx.backends.valkey.limits import ValkeyLimits
from apx.clock import SystemClock
from apx.limits.leases import Level, Limiter
from apx.limits.loan import LOAN_S
from apx.limits.windows import Window

from .conftest import Server, connected
from .limits_crowd import CLIENTS, RATE, ROUTERS, RUN_S, Row, crowd, failures, quota_of, rate_of, shown

RUNS = 4
LENT_AHEAD = 1 / 8
"""Most of a quota that one router holds, and takes with it when it is killed."""


@pytest.mark.timeout(120 + 2 * RUNS * RUN_S)
async def test_four_routers_never_exceed_the_limits_and_waste_little_of_them(
    own_server: Server, record_property: Callable[[str, str], None]
) -> None:
    """The best run says what is wasted: whose loop gets no processor borrows late."""
    requests, said = int(1_500 * RUN_S), ""
    for _ in range(RUNS):
        rate, quota, said = await run(own_server, requests)
        record_property("limits", said)
        assert (rate.over, quota.over) == (0, 0), said
        if (
            rate.admitted >= 0.97 * rate.allows - RATE.per_second * LOAN_S / 4
            and quota.admitted >= requests * (1 - LENT_AHEAD) - ROUTERS
        ):
            return
    pytest.fail(said)


async def run(server: Server, requests: int) -> tuple[Row, Row, str]:
    """Let the crowd ask an empty store; return what became of a rate and of a quota, and the table of it."""
    async with connected(server) as client:
        await client.flushall()
    told = failures()
    async with crowd(server.url, [rate_of("closed"), quota_of(requests, "closed")]) as asking:
        await asyncio.sleep(RUN_S / 3)
        asking.kill(3)  # what it holds is lost
        await asyncio.sleep(RUN_S * 2 / 3)
    took_s = asking.took_s
    rate = asking.row("rate, closed", RATE.burst + RATE.per_second * took_s)
    quota = asking.row("quota, closed", requests)
    said = shown(
        f"{ROUTERS} routers x {CLIENTS} clients for {took_s:.0f} s, one router killed",
        [rate, quota],
        f"{asking.away.total()} refused as away; failures {dict(failures() - told)}",
    )
    return rate, quota, said


@pytest.mark.timeout(120)
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("requests", [10, 2_000])
async def test_four_routers_use_a_quota_up_and_not_one_request_more(
    shared_server: Server, requests: int, *, killed: bool
) -> None:
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
                if killed and number == 3 and sum(admitted) > requests / 2:  # what it holds is lost
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
    lost = requests * LENT_AHEAD + 1 if killed else requests * 0.03
    assert requests - lost <= sum(admitted) <= requests, admitted
