"""The bus by itself: durable publishes a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import uvloop

from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.connection import connect
from apx.requests.model import Envelope
from tests.bench.bench import Bench
from tests.bench.celery_api import start_store
from tests.bench.row import Row, interleaved, row
from tests.bench.trees import ORDER

NAMES = ("bus", "bus-one-publisher")
PUBLISHERS = 64


def rows(bench: Bench) -> Iterator[Row]:
    """Measure both ways of being durable."""
    always, everysec = start_store(bench, "always"), start_store(bench, "everysec", "everysec")

    def rate(store: Path, publishers: int) -> Callable[[], float]:
        return lambda: uvloop.run(_publishes(store, publishers, bench.seconds))

    sides = {"always": rate(always, PUBLISHERS), "waitaof": rate(everysec, PUBLISHERS), "one": rate(always, 1)}
    found = interleaved(sides, bench.rounds)
    yield row(
        "bus",
        found["always"],
        found["waitaof"],
        unit="publishes/s",
        peer="everysec + WAITAOF",
        note="64 publishers of one process, each waiting for its own; those of a moment go in one call. Ours: "
        "appendfsync always, as `./dev up` runs it. Peer: the same bus on a store that syncs once a second by itself "
        "and is asked to for each call (WAITAOF); both answer after the sync.",
    )
    yield row(
        "bus-one-publisher",
        found["one"],
        unit="publishes/s",
        note="one publisher that waits for each: the time of one round trip with its sync.",
    )


def envelope(number: int, *, release: str = "sha256:0", orgs: int = PUBLISHERS) -> Envelope:
    """Return an order of one of several orgs."""
    now_ms = int(time.time() * 1000)
    return Envelope(
        id=f"req-{now_ms}-{number}",
        org=f"org-{number % orgs}",
        key_id="key_bench",
        product="orders",
        release=release,
        lane="org",
        method="POST",
        path="/",
        query="",
        headers=(("content-type", "application/json"), ("user-agent", "bench"), ("x-order-tier", "gold")),
        body=ORDER,
        accepted_ms=now_ms,
        deadline_ms=now_ms + 3_600_000,
        timeout_s=10.0,
        backlog=1_000_000,
    )


async def _publishes(store: Path, publishers: int, seconds: float) -> float:
    client = connect(f"unix://{store}")
    bus = ValkeyBus(client)
    count, begun = 0, time.perf_counter()
    end = begun + seconds

    async def one() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await bus.publish(envelope(count))
            count += 1

    try:
        await asyncio.gather(*(one() for _ in range(publishers)))
        return count / (time.perf_counter() - begun)
    finally:
        await bus.aclose()
        await client.aclose()
