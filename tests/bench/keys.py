"""A caller's key found in what the router remembers, against the store asked for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle

from apx.admission.identity import Identity
from apx.admission.keys import KeyRecord, mint, sha256_of
from apx.backends.valkey.connection import connect
from apx.backends.valkey.keys import ValkeyKeys
from apx.clock import SystemClock
from apx.requests.receipt import Entropy
from tests.bench.bench import Bench
from tests.bench.celery_api import start_store
from tests.bench.limits import rate_of
from tests.bench.row import Row, interleaved, row

NAMES = ("key-lookup",)
KEYS = 10_000


def rows(bench: Bench) -> Iterator[Row]:
    """Find the records of many keys in turn, as 64 requests at a time do."""
    url = f"unix://{start_store(bench, 'keys')}"
    keys = asyncio.run(_stored(url))

    def asking(how: Callable[[ValkeyKeys], Callable[[str], Awaitable[object]]]) -> Callable[[], float]:
        return lambda: asyncio.run(_rate(url, keys, how, bench.seconds))

    found = interleaved({"remembered": asking(_remembered), "asked": asking(_asked)}, bench.rounds)
    yield row(
        "key-lookup",
        found["remembered"],
        found["asked"],
        unit="/s",
        peer="a look-up in the store for each request",
        note=f"{KEYS:,} keys in turn, each hashed (SHA-256) on both sides; ours are asked for once a round, a change "
        "would be pushed. The peer looks at no checksum and no expiry, and hears of a revocation at once.",
    )


def _remembered(store: ValkeyKeys) -> Callable[[str], Awaitable[object]]:
    return Identity(store, SystemClock()).identify


def _asked(store: ValkeyKeys) -> Callable[[str], Awaitable[object]]:
    return lambda key: store.find(sha256_of(key))


async def _stored(url: str) -> list[str]:
    client, entropy = connect(url), Entropy()
    store = ValkeyKeys(client)
    keys = [mint("bench", entropy) for _ in range(KEYS)]
    try:
        for at in range(0, KEYS, 100):
            await asyncio.gather(*(store.put(_record(number, keys[number])) for number in range(at, at + 100)))
    finally:
        await client.aclose()
    return keys


def _record(number: int, key: str) -> KeyRecord:
    return KeyRecord(
        id=f"key_{number}", sha256=sha256_of(key), org="acme", region="us", plans={"orders": "free"}, created_ms=0
    )


async def _rate(
    url: str, keys: list[str], how: Callable[[ValkeyKeys], Callable[[str], Awaitable[object]]], seconds: float
) -> float:
    client = connect(url)
    find, turn = how(ValkeyKeys(client)), cycle(keys)
    try:
        return await rate_of(lambda: find(next(turn)), seconds)
    finally:
        await client.aclose()
