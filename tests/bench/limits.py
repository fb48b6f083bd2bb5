"""A limit asked of a loan, against the same asked of the store by a script for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from apx.backends.valkey.connection import connect
from apx.backends.valkey.limits import ValkeyLimits
from apx.catalog.model import Rate
from apx.clock import SystemClock
from apx.limits.leases import Level, Limiter
from apx.limits.loan import LOAN_S
from apx.limits.store import Want
from tests.bench.bench import Bench
from tests.bench.celery_api import start_store
from tests.bench.row import Goal, Row, interleaved, row

NAMES = ("limit-check",)
RATE = Rate(per_second=1_000_000, burst=1_000_000)
LEVELS = (Level("plan", "k:orders:k1", RATE), Level("org", "o:orders:acme", RATE))
CLIENTS = 64


def rows(bench: Bench) -> Iterator[Row]:
    """Take tokens of a key and its org, as 64 requests at a time do."""
    store = f"unix://{start_store(bench, 'limits')}"
    sides = {
        "loan": lambda: asyncio.run(_loans(store, bench.seconds)),
        "script": lambda: asyncio.run(_scripts(store, bench.seconds)),
    }
    took = interleaved(sides, bench.rounds)
    yield row(
        "limit-check",
        took["loan"],
        took["script"],
        unit="/s",
        peer="a Lua round trip for each request",
        goal=Goal(ratio_from=10),
        note="two levels, taken together; the limit is far away, as for a busy key. The peer runs the same script on "
        "the same server, its requests of one moment batched as ours are; both have the loans' exchanges in them.",
    )


async def _loans(url: str, seconds: float) -> float:
    client = connect(url)
    store = ValkeyLimits(client)
    limiter = Limiter(store, SystemClock())
    keeping = asyncio.create_task(limiter.keep())

    async def ask() -> None:
        await limiter.take(LEVELS, 1.0, "closed")

    try:
        return await rate_of(ask, seconds)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await store.aclose()
        await client.aclose()


async def _scripts(url: str, seconds: float) -> float:
    client = connect(url)
    store = ValkeyLimits(client)
    wants = [Want(bucket=f"peer-{level.bucket}", rate=RATE, used=1.0, hold=1.0) for level in LEVELS]

    async def ask() -> None:
        await store.exchange("bench", wants, LOAN_S)

    try:
        return await rate_of(ask, seconds)
    finally:
        await store.aclose()
        await client.aclose()


async def rate_of(ask: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Return how often a second `CLIENTS` at a time get their answers."""
    loop = asyncio.get_running_loop()
    began, done = loop.time(), 0

    async def client() -> None:
        nonlocal done
        while loop.time() - began < seconds:
            for _ in range(10):
                await ask()
            done += 10
            await asyncio.sleep(0)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return done / (loop.time() - began)
