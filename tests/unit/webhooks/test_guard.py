"""What a webhook's address leads to at the moment of a connection: judged again, by the worker's own client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import ResolveResult

from apx.backends.http.client import HttpBackendClient
from apx.webhooks.terms import WAITS_S
from tests.unit.webhooks.examples import Telling, webhook
from tests.unit.worker.scripted import ScriptedClient


class Trap:
    """A server that nobody may reach."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    trap = Trap()
    server = await asyncio.start_server(trap, "127.0.0.1", 0)
    trap.port = server.sockets[0].getsockname()[1]
    async with server:
        yield trap


def answering(*addresses: str) -> HttpBackendClient:
    """Return the worker's client, for which every name has these addresses."""

    async def lookup(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        del family
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    return HttpBackendClient(lookup=lookup)


async def delivered_to(url: str, client: HttpBackendClient) -> tuple[str, Telling]:
    """Try once; return what went wrong."""
    telling = Telling()
    await telling.store.add(webhook(url=url))
    await telling.tell("req_1")
    telling._execution._caller._client = client  # noqa: SLF001 -- in place of the scripted one
    assert isinstance(telling.client, ScriptedClient)
    async with client:
        [carried] = await telling.attempt()
    return carried.reason, telling


@pytest.mark.parametrize(
    "addresses",
    [
        *(("127.0.0.1",), ("10.0.0.1",), ("169.254.169.254",), ("::ffff:127.0.0.1",), ("64:ff9b::7f00:1",)),
        *(("2002:7f00:1::1",), ("8.8.8.8", "127.0.0.1")),
    ],
)
async def test_a_name_that_leads_or_also_leads_to_a_private_address_is_not_connected_to(
    trap: Trap, addresses: tuple[str, ...]
) -> None:
    reason, telling = await delivered_to(f"https://hooks.example:{trap.port}/x", answering(*addresses))
    assert (reason, trap.connections) == ("backend-address-blocked", 0)
    assert (await telling.bus.depth())["apx-webhooks", "wh_1"] == 1


async def test_an_address_of_this_machine_that_got_in_is_not_connected_to(trap: Trap) -> None:
    reason, _ = await delivered_to(f"http://127.0.0.1:{trap.port}/x", answering())
    assert (reason, trap.connections) == ("backend-address-blocked", 0)


async def test_what_was_blocked_says_nothing_of_where_the_name_led(trap: Trap) -> None:
    client = answering("10.9.8.7")
    telling = Telling()
    await telling.store.add(webhook(url=f"https://hooks.example:{trap.port}/canary"))
    await telling.tell("req_1")
    telling._execution._caller._client = client  # noqa: SLF001 -- in place of the scripted one
    async with client:
        for wait_s in (*WAITS_S, 0):
            carried = await telling.attempt()
            telling.clock.advance(wait_s)
    [letter] = await telling.bus.dead_letters("apx-webhooks")
    told = f"{letter.detail} {carried[0].detail} {carried[0].settlement.result}"
    assert "10.9.8.7" not in told
    assert "canary" not in told
