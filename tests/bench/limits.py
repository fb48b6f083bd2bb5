"""A limit asked of a loan, against the same asked of the store by a script for each request."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator

from apx.backends.valkey.connection import connect
from apx.backends.valkey.limits import ValkeyLimits
from apx.backends.valkey.server import server_command
from apx.catalog.model import Rate
from apx.clock import SystemClock
from apx.limits.leases import LOAN_S, Level, Limiter
from apx.limits.store import Want
from tests.bench.bench import Bench, NotMeasured
from tests.bench.row import Goal, Row, interleaved, row

NAMES = ("limit-check",)
RATE = Rate(per_second=1_000_000, burst=1_000_000)
LEVELS = (Level("plan", "k:orders:k1", RATE), Level("org", "o:orders:acme", RATE))
CLIENTS = 64
START_S = 10.0


def rows(bench: Bench) -> Iterator[Row]:
    """Take tokens of a key and its org, as 64 requests at a time do."""
    folder = bench.folder / "valkey"
    folder.mkdir()
    socket = folder / "s.sock"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(server_command(folder, socket), stdout=log, stderr=log)
    try:
        end = time.monotonic() + START_S
        while not socket.exists():
            if time.monotonic() > end:
                raise NotMeasured("the store did not start")
            time.sleep(0.01)
        sides = {
            "loan": lambda: asyncio.run(_loans(f"unix://{socket}", bench.seconds)),
            "script": lambda: asyncio.run(_scripts(f"unix://{socket}", bench.seconds)),
        }
        took = interleaved(sides, bench.rounds)
    finally:
        process.kill()
        process.wait()
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
        return await _rate(ask, seconds)
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
        return await _rate(ask, seconds)
    finally:
        await store.aclose()
        await client.aclose()


async def _rate(ask: Callable[[], Awaitable[None]], seconds: float) -> float:
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
