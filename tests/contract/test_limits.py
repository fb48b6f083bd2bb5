"""What every `LimitStore` promises."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from apx.backends.memory.limits import MemoryLimits
from apx.backends.valkey.limits import ValkeyLimits
from apx.catalog.model import Rate
from apx.clock import SystemClock
from apx.errors import Unavailable
from apx.limits.store import KEPT_S, Bound, Grant, LimitStore, Settle, Spent, Want
from apx.limits.windows import Window

from .conftest import Server, connected

SLOW = Rate(per_second=0.001, burst=10)
"""So slow that nothing is gained while a test runs."""
TTL_S = 5.0


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LimitStore]:
    if request.param == "memory":
        yield MemoryLimits(SystemClock())
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        limits = ValkeyLimits(client)
        yield limits
        await limits.aclose()


def want(hold: float, used: float = 0.0, bucket: str = "b", rate: Bound = SLOW) -> Want:
    return Want(bucket=bucket, rate=rate, used=used, hold=hold)


async def one(store: LimitStore, holder: str, wanted: Want, ttl_s: float = TTL_S) -> tuple[float, float]:
    [grant] = await store.exchange(holder, [wanted], ttl_s)
    return round(grant.held, 2), round(grant.left, 2)


async def test_a_bucket_that_nobody_knows_is_full(store: LimitStore) -> None:
    assert await one(store, "a", want(0)) == (0, 10)


async def test_what_is_held_is_not_there_for_others(store: LimitStore) -> None:
    assert await one(store, "a", want(7)) == (7, 3)
    assert await one(store, "b", want(7)) == (3, 0)
    assert await one(store, "c", want(1)) == (0, 0)


async def test_what_was_used_is_gone(store: LimitStore) -> None:
    await one(store, "a", want(7))
    assert await one(store, "a", want(0, used=5)) == (0, 5)


async def test_what_is_given_back_is_there_again(store: LimitStore) -> None:
    await one(store, "a", want(7))
    assert await one(store, "a", want(2)) == (2, 8)
    assert await one(store, "b", want(8)) == (8, 0)


async def test_a_loan_goes_on_with_what_is_left_of_it(store: LimitStore) -> None:
    await one(store, "a", want(4))
    assert await one(store, "a", want(6, used=3)) == (6, 1)


async def test_more_than_was_held_cannot_have_been_used(store: LimitStore) -> None:
    await one(store, "a", want(2))
    assert await one(store, "a", want(0, used=100)) == (0, 8)


async def test_a_loan_that_is_over_is_lost_and_never_lent_twice(store: LimitStore) -> None:
    await one(store, "a", want(6), ttl_s=0.05)
    loop = asyncio.get_running_loop()
    end = loop.time() + 5
    while (await one(store, "b", want(0)))[1] < 3.99 or loop.time() < end - 4.9:
        assert loop.time() < end
        await asyncio.sleep(0.01)
    assert await one(store, "b", want(10)) == (4, 0)
    assert await one(store, "a", want(6, used=6)) == (0, 0)


async def test_a_bucket_gains_its_rate_and_is_never_fuller_than_full(store: LimitStore) -> None:
    fast = Rate(per_second=1000, burst=10)
    await one(store, "a", want(10, rate=fast))
    await one(store, "a", want(0, used=10, rate=fast))
    await asyncio.sleep(0.05)
    assert await one(store, "a", want(0, rate=fast)) == (0, 10)


async def test_with_what_is_lent_it_is_never_fuller_than_full(store: LimitStore) -> None:
    fast = Rate(per_second=1000, burst=10)
    await one(store, "a", want(6, rate=fast))
    await asyncio.sleep(0.05)
    assert await one(store, "b", want(10, rate=fast)) == (4, 0)


async def test_buckets_of_one_call_are_taken_in_one_step(store: LimitStore) -> None:
    grants = await store.exchange("a", [want(3), want(4, bucket="c")], TTL_S)
    assert [(round(g.held), round(g.left)) for g in grants] == [(3, 7), (4, 6)]


async def test_a_smaller_limit_holds_from_the_next_exchange_on(store: LimitStore) -> None:
    await one(store, "a", want(2))
    assert await one(store, "b", want(10, rate=Rate(per_second=0.001, burst=5))) == (3, 0)


async def test_64_holders_never_use_more_than_the_bucket_has(store: LimitStore) -> None:
    rate = Rate(per_second=200, burst=100)
    loop = asyncio.get_running_loop()
    began, used = loop.time(), 0.0

    async def holder(number: int) -> float:
        chance, spent, told = random.Random(number), 0.0, 0.0  # noqa: S311 -- a schedule
        for _ in range(25):
            [grant] = await store.exchange(str(number), [want(chance.random() * 5, told, rate=rate)], 0.5)
            told = grant.held * chance.random()
            spent += told
        return spent

    used = sum(await asyncio.gather(*(holder(number) for number in range(64))))
    assert used <= rate.burst + rate.per_second * (loop.time() - began) + 1e-6
    assert used > rate.burst / 2


def window(burst: int = 10, *, ends_in_s: float = 3600.0) -> Window:
    now = time.time()
    return Window(burst, now - 60, now + ends_in_s)


async def test_a_window_is_full_once_and_gains_nothing(store: LimitStore) -> None:
    day = window()
    assert await one(store, "a", want(8, rate=day)) == (8, 2)
    assert await one(store, "a", want(0, used=6, rate=day)) == (0, 4)
    await asyncio.sleep(0.05)
    assert await one(store, "b", want(10, rate=day)) == (4, 0)


async def test_a_window_tells_what_others_hold_of_it(store: LimitStore) -> None:
    await store.exchange("a", [want(3, rate=window())], TTL_S)
    [grant] = await store.exchange("b", [want(8, rate=window())], TTL_S)
    assert (grant.held, grant.left, grant.lent) == (7, 0, 3)


async def test_a_loan_of_a_window_that_is_over_counts_as_used(store: LimitStore) -> None:
    await one(store, "killed", want(6, rate=window()), ttl_s=0.05)
    await until_lent(store, 0.0)
    assert await one(store, "b", want(10, rate=window())) == (4, 0)
    assert [one.used for one in await store.spent(["b"])] == [6]


async def until_lent(store: LimitStore, tokens: float) -> None:
    end = asyncio.get_running_loop().time() + 5
    while (await store.exchange("looks", [want(0, rate=window())], TTL_S))[0].lent != tokens:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


async def test_a_window_whose_size_changes_remembers_what_was_used(store: LimitStore) -> None:
    await one(store, "a", want(6, rate=window()))
    await one(store, "a", want(0, used=6, rate=window()))
    assert await one(store, "a", want(0, rate=window(100))) == (0, 94)
    assert await one(store, "a", want(1, rate=window(5))) == (0, 0)
    assert await one(store, "a", want(1, rate=window(7))) == (1, 0)


async def test_a_window_that_ended_long_ago_has_nothing_to_give(store: LimitStore) -> None:
    assert await one(store, "a", want(1, rate=window(ends_in_s=1 - KEPT_S))) == (1, 9)
    assert await one(store, "a", want(1, bucket="c", rate=window(ends_in_s=-1 - KEPT_S))) == (0, 0)


async def test_what_is_used_of_windows_is_told_without_what_is_lent(store: LimitStore) -> None:
    await one(store, "a", want(6, rate=window()))
    await one(store, "a", want(2, used=3, rate=window()))
    await one(store, "a", want(1, bucket="c", rate=window()))
    assert await store.spent(["b", "unknown", "c"]) == [Spent(3), Spent(), Spent()]
    assert await store.spent([]) == []


async def test_that_more_was_needed_than_there_was_is_told(store: LimitStore) -> None:
    await store.exchange("a", [Want(bucket="b", rate=window(), used=0, hold=20, need=10)], TTL_S)
    assert [one.short_of for one in await store.spent(["b"])] == [0]
    await store.exchange("a", [Want(bucket="b", rate=window(), used=10, hold=1, need=1)], TTL_S)
    await one(store, "a", want(0, rate=window(100)))
    assert await store.spent(["b"]) == [Spent(10, 10)]


async def test_costs_are_settled_afterwards(store: LimitStore) -> None:
    day = window()
    await one(store, "a", want(6, rate=day))
    await one(store, "a", want(0, used=6, rate=day))
    await store.settle([Settle("b", day.ends_s, -2.5), Settle("c", day.ends_s, 4)])
    assert [found.used for found in await store.spent(["b", "c"])] == [3.5, 4]
    assert await one(store, "a", want(0, rate=day)) == (0, 6.5)
    await store.settle([Settle("b", day.ends_s, 20), Settle("c", day.ends_s, -20)])
    assert [found.used for found in await store.spent(["b", "c"])] == [23.5, 0]
    assert await one(store, "a", want(1, rate=day)) == (0, 0)


async def test_what_is_given_back_before_its_use_was_told_is_not_lost(store: LimitStore) -> None:
    day = window()
    await one(store, "a", want(6, rate=day))
    await store.settle([Settle("b", day.ends_s, -4)])
    assert [found.used for found in await store.spent(["b"])] == [0]
    assert await one(store, "b", want(100, rate=day)) == (8, 0)
    await one(store, "b", want(0, rate=day))
    assert await one(store, "a", want(0, used=6, rate=day)) == (0, 8)
    assert [found.used for found in await store.spent(["b"])] == [2]


async def test_no_more_is_given_back_than_was_taken(store: LimitStore) -> None:
    day = window()
    await one(store, "a", want(6, rate=day))
    await store.settle([Settle("b", day.ends_s, -4)] * 3)
    assert await one(store, "a", want(0, used=6, rate=day)) == (0, 10)


async def test_nothing_is_settled_of_a_window_that_ended_long_ago(store: LimitStore) -> None:
    await store.settle([Settle("b", time.time() - KEPT_S - 1, 4), Settle("c", time.time() - KEPT_S + 30, 4)])
    assert [found.used for found in await store.spent(["b", "c"])] == [0, 4]


async def test_64_holders_of_which_some_are_killed_never_use_more_than_a_window_has(store: LimitStore) -> None:
    day = window(1000)

    async def holder(number: int) -> float:
        chance, spent, told = random.Random(number), 0.0, 0.0  # noqa: S311 -- a schedule
        for _ in range(25):
            [grant] = await store.exchange(str(number), [want(chance.random() * 5, told, rate=day)], 0.5)
            told = grant.held * chance.random()
            spent += told
            if chance.random() < 0.02:
                break  # killed: what it holds is never told
        return spent

    used = sum(await asyncio.gather(*(holder(number) for number in range(64))))
    assert 500 < used <= 1000 + 1e-6


async def test_a_store_that_hangs_is_unavailable(own_server: Server) -> None:
    async with connected(own_server) as client:
        limits = ValkeyLimits(client)
        assert await limits.exchange("a", [want(1)], TTL_S) == [Grant(1.0, 9.0)]
        own_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await limits.exchange("a", [want(1)], TTL_S)
        finally:
            own_server.signal(signal.SIGCONT)
        await limits.aclose()


async def test_a_full_store_forgets_no_loan_that_is_over(own_server: Server) -> None:
    async with connected(own_server) as client:
        limits, day = ValkeyLimits(client), window()
        await one(limits, "killed", want(6, rate=day), ttl_s=0.05)
        await client.config_set("maxmemory", "1")
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable, match="maxmemory"):
            await one(limits, "a", want(1, bucket="c", rate=day))
        with suppress(Unavailable):
            await one(limits, "a", want(1, rate=day))
        await client.config_set("maxmemory", "0")
        assert (await limits.exchange("b", [want(10, rate=day)], TTL_S))[0].held <= 4
        await limits.aclose()


async def test_a_window_is_remembered_beyond_its_end(own_server: Server) -> None:
    async with connected(own_server) as client:
        limits = ValkeyLimits(client)
        await limits.exchange("a", [want(1, rate=window(ends_in_s=10))], 0.1)
        assert KEPT_S + 5 < await client.pttl("apx:limit:b") / 1000 <= KEPT_S + 10
        await limits.aclose()


async def test_a_bucket_that_is_full_again_is_forgotten(own_server: Server) -> None:
    async with connected(own_server) as client:
        limits = ValkeyLimits(client)
        await limits.exchange("a", [want(1, rate=Rate(per_second=1000, burst=10))], 0.1)
        assert 0 < await client.pttl("apx:limit:b") <= 1_200
        await limits.aclose()
