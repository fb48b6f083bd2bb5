"""What every `Leases` promises."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from apx.backends.memory.leases import MemoryLeases
from apx.backends.valkey.connection import CALL_TIMEOUT_S
from apx.backends.valkey.leases import ValkeyLeases
from apx.errors import Unavailable
from apx.rollout.active import Leases
from tests.contract.conftest import Server, connected, until

LONG_S = 60.0
SHORT_S = 0.2


@pytest.fixture(params=["memory", "valkey"])
async def leases(request: pytest.FixtureRequest) -> AsyncIterator[Leases]:
    if request.param == "memory":
        yield MemoryLeases()
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield ValkeyLeases(client)


async def test_a_free_lease_is_taken(leases: Leases) -> None:
    assert await leases.hold("lead", "a", LONG_S)


async def test_a_lease_has_one_holder(leases: Leases) -> None:
    await leases.hold("lead", "a", LONG_S)
    assert not await leases.hold("lead", "b", LONG_S)


async def test_the_holder_renews(leases: Leases) -> None:
    await leases.hold("lead", "a", LONG_S)
    assert await leases.hold("lead", "a", LONG_S)


async def test_names_are_held_apart(leases: Leases) -> None:
    await leases.hold("lead", "a", LONG_S)
    assert await leases.hold("lead:2", "b", LONG_S)


async def test_a_lease_that_was_not_renewed_passes_on(leases: Leases) -> None:
    await leases.hold("lead", "a", SHORT_S)
    await until(lambda: leases.hold("lead", "b", LONG_S))
    assert not await leases.hold("lead", "a", LONG_S)


async def test_a_renewal_counts_from_when_it_was_made(leases: Leases) -> None:
    await leases.hold("lead", "a", SHORT_S)
    await leases.hold("lead", "a", LONG_S)
    with pytest.raises(AssertionError, match="did not come to pass"):
        await until(lambda: leases.hold("lead", "b", LONG_S), within_s=2 * SHORT_S)


async def test_a_renewal_may_shorten_the_lease(leases: Leases) -> None:
    await leases.hold("lead", "a", LONG_S)
    await leases.hold("lead", "a", SHORT_S)
    await until(lambda: leases.hold("lead", "b", LONG_S))


async def test_the_holder_gives_up(leases: Leases) -> None:
    await leases.hold("lead", "a", LONG_S)
    await leases.release("lead", "a")
    assert await leases.hold("lead", "b", LONG_S)


async def test_nobody_else_gives_up_for_the_holder(leases: Leases) -> None:
    await leases.hold("lead", "a", LONG_S)
    await leases.release("lead", "b")
    assert not await leases.hold("lead", "b", LONG_S)


async def test_giving_up_what_nobody_holds_does_nothing(leases: Leases) -> None:
    await leases.release("lead", "a")
    assert await leases.hold("lead", "b", LONG_S)


async def test_of_many_at_one_time_one_gets_it(leases: Leases) -> None:
    got = await asyncio.gather(*(leases.hold("lead", f"process-{n}", LONG_S) for n in range(32)))
    assert sum(got) == 1


async def test_a_server_that_is_away_is_unavailable(own_server: Server) -> None:
    async with connected(own_server) as client:
        leases = ValkeyLeases(client)
        own_server.kill()
        for asked in (leases.hold("lead", "a", LONG_S), leases.release("lead", "a")):
            with pytest.raises(Unavailable):
                await asked


async def test_a_server_that_hangs_is_unavailable_in_bounded_time(own_server: Server) -> None:
    async with connected(own_server) as client:
        leases = ValkeyLeases(client)
        await leases.hold("lead", "a", LONG_S)
        own_server.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S + 2):
                with pytest.raises(Unavailable):
                    await leases.hold("lead", "a", LONG_S)
        finally:
            own_server.signal(signal.SIGCONT)


async def test_a_lease_outlives_a_killed_server(own_server: Server) -> None:
    async with connected(own_server) as client:
        await ValkeyLeases(client).hold("lead", "a", LONG_S)
    own_server.kill()
    own_server.start()
    async with connected(own_server) as client:
        assert not await ValkeyLeases(client).hold("lead", "b", LONG_S)
