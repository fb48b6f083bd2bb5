from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from itertools import chain, repeat

import pytest
from aiohttp.abc import ResolveResult

from apx.backends.http.client import HttpBackendClient
from apx.backends.http.connect_to import parse_connect_to
from apx.backends.http.resolver import JudgedResolver
from apx.errors import Misconfigured, Permanent
from apx.requests.execution_call import AddressBlocked, BackendFailure
from tests.unit.http.raw import RawServer, answering, request_to

PRIVATE = [
    "127.0.0.1",
    "0.0.0.0",  # noqa: S104  # an address to refuse, not to listen on
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "::1",
    "fd00:ec2::254",
    "fe80::1%eth0",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
]
PUBLIC = "93.184.215.14"


class Names:
    """A name server that gives out its answers one after another."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = chain(answers, repeat(answers[-1]))
        self.asked = 0

    async def __call__(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=_family(address, family), proto=0, flags=0)
            for address in next(self._answers)
        ]


def _family(address: str, _asked: int) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@pytest.fixture
async def canary() -> AsyncIterator[RawServer]:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as raw:
        yield raw


async def call(client: HttpBackendClient, url: str, *, allow_private: bool = False) -> int:
    async with client.call(request_to(url, allow_private=allow_private, timeout_s=1.0)) as answer:
        return answer.status


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    async with HttpBackendClient(lookup=Names([address])) as client:
        with pytest.raises(AddressBlocked) as caught:
            await call(client, "http://backend.example/")
    assert isinstance(caught.value, Permanent)


async def test_one_private_address_among_public_ones_is_enough() -> None:
    async with HttpBackendClient(lookup=Names([PUBLIC, "10.0.0.1"])) as client:
        with pytest.raises(AddressBlocked):
            await call(client, "http://backend.example/")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "localhost"])
async def test_an_address_in_the_url_is_judged_too(canary: RawServer, host: str) -> None:
    async with HttpBackendClient() as client:
        with pytest.raises(AddressBlocked):
            await call(client, f"http://{host}:{canary.port}/")
    assert canary.heads == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1."])
async def test_other_spellings_of_loopback_reach_nobody(canary: RawServer, host: str) -> None:
    async with HttpBackendClient() as client:
        with pytest.raises(BackendFailure):
            await call(client, f"http://{host}:{canary.port}/")
    assert canary.heads == []


async def test_the_reason_is_no_oracle() -> None:
    async with HttpBackendClient(lookup=Names(["10.1.2.3"])) as client:
        with pytest.raises(AddressBlocked) as caught:
            await call(client, "http://backend.example/")
    assert "10.1.2.3" not in caught.value.public


async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    names = Names([PUBLIC], ["127.0.0.1"])
    resolver = JudgedResolver({}, guard=True, lookup=names)
    judged = await resolver.resolve("backend.example", 80)
    assert [result["host"] for result in judged] == [PUBLIC]
    assert names.asked == 1


async def test_a_name_that_turns_private_is_refused_when_it_is_looked_up_again() -> None:
    resolver = JudgedResolver({}, guard=True, lookup=Names([PUBLIC], ["127.0.0.1"]))
    await resolver.resolve("backend.example", 80)
    with pytest.raises(AddressBlocked):
        await resolver.resolve("backend.example", 80)


async def test_a_rebinding_name_never_reaches_the_private_address(canary: RawServer) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    async with HttpBackendClient(lookup=names) as client:
        for _ in range(3):
            with pytest.raises(AddressBlocked):
                await call(client, f"http://backend.example:{canary.port}/")
    assert canary.heads == []


async def test_a_product_may_allow_private_addresses(canary: RawServer) -> None:
    async with HttpBackendClient(lookup=Names(["127.0.0.1"])) as client:
        assert await call(client, f"http://backend.example:{canary.port}/", allow_private=True) == 200


async def test_a_connection_of_a_product_that_may_is_not_lent_to_one_that_may_not() -> None:
    async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(keep_alive, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, HttpBackendClient(lookup=Names(["127.0.0.1"])) as client:
        await call(client, f"http://backend.example:{port}/", allow_private=True)
        with pytest.raises(AddressBlocked):
            await call(client, f"http://backend.example:{port}/")


async def test_connect_to_says_where_a_name_really_listens(canary: RawServer) -> None:
    mapping = parse_connect_to(f"backend.example:80=127.0.0.1:{canary.port}")
    async with HttpBackendClient(mapping) as client:
        assert await call(client, "http://backend.example/") == 200
    assert "\r\nHost: backend.example\r\n" in canary.heads[0]


async def test_connect_to_also_moves_an_address_in_the_url(canary: RawServer) -> None:
    mapping = parse_connect_to(f"127.0.0.1:9=127.0.0.1:{canary.port}")
    async with HttpBackendClient(mapping) as client:
        assert await call(client, "http://127.0.0.1:9/") == 200
    assert "\r\nhost: 127.0.0.1:9\r\n" in canary.heads[0].lower()


@pytest.mark.parametrize("text", ["a", "a:1", "a:1=b", "a=b:1", "a:x=b:1", ":1=b:1", "a:99999=b:1"])
def test_a_wrong_connect_to_is_named(text: str) -> None:
    with pytest.raises(Misconfigured, match="APX_CONNECT_TO"):
        parse_connect_to(text)
