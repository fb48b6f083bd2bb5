"""Four routers with 64 clients each, on buckets and quotas of one real store; what was let through is counted here.

Each router has a connection and a clock of its own, as in a process of its own. Half of the clients ask a bucket, the
others a quota, and of both halves one is under a plan that is sure (`closed`), the other under one that goes on alone.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from apx.backends.valkey.connection import connect
from apx.backends.valkey.limits import ValkeyLimits
from apx.catalog.model import Rate
from apx.clock import Clock, SystemClock
from apx.limits.leases import STORE_TIMEOUT_S, Answer, Level, Limiter, WhenAway
from apx.limits.store import Grant, LimitStore, Settle, Spent, Want
from apx.limits.windows import Window
from apx.telemetry import metrics

RUN_S = float(os.environ.get("LIMITS_RUN_S", "6"))
"""How long the run without faults lasts; docs/limits.md tells of a long one."""
ROUTERS, CLIENTS = 4, 64
RATE = Rate(per_second=400, burst=200)
SLOW_S = 0.5
"""Ten times the bound of a decision: 256 clients share one loop."""
_PAUSE_S = 0.04
"""What a client waits between two requests: 6,000 a second of all, which a loop has time for."""


class Kind(msgspec.Struct, frozen=True):
    """What some of the clients ask."""

    level: Callable[[Clock], Level]
    """What it is by a router's clock."""
    when_away: WhenAway


class Skewed(SystemClock):
    """The machine's clock, wrong by so much."""

    def __init__(self, by_s: float = 0.0) -> None:
        self._by_s = by_s

    def time(self) -> float:
        return super().time() + self._by_s


class Watched(LimitStore):
    """A router's way to the store, with what became of its calls."""

    def __init__(self, url: str) -> None:
        self._client = connect(url)
        self._store = ValkeyLimits(self._client)
        self.calls = 0
        self.answered_at = 0.0

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        self.calls += 1
        grants = await self._store.exchange(holder, wants, ttl_s)
        self.answered_at = time.monotonic()
        return grants

    async def spent(self, buckets: Sequence[str]) -> list[Spent]:
        return await self._store.spent(buckets)

    async def settle(self, costs: Sequence[Settle]) -> None:
        await self._store.settle(costs)

    async def aclose(self) -> None:
        await self._store.aclose()
        await self._client.aclose()


class Row(msgspec.Struct, frozen=True):
    """What became of one limit."""

    limit: str
    allows: float
    admitted: int
    refused: int

    @property
    def over(self) -> float:
        return max(0.0, self.admitted - self.allows)


class Crowd:
    """The routers, their clients, and the count of what was let through of each bucket."""

    def __init__(self, url: str, kinds: Sequence[Kind], skews: Sequence[float], timeout_s: float) -> None:
        self.stores = [Watched(url) for _ in skews]
        self._clocks = [Skewed(by_s) for by_s in skews]
        self._routers = [
            Limiter(store, clock, timeout_s) for store, clock in zip(self.stores, self._clocks, strict=True)
        ]
        self._kinds = kinds
        self._killed = set[int]()
        self._keeping = [asyncio.create_task(router.keep()) for router in self._routers]
        self._asking = [
            asyncio.create_task(self._ask(kinds[n // ROUTERS % len(kinds)], n % ROUTERS))
            for n in range(CLIENTS * ROUTERS)
        ]
        self._began, self._ended = time.monotonic(), 0.0
        self.admitted, self.refused, self.away = Counter[str](), Counter[str](), Counter[str]()
        self.decisions, self.slow = 0, 0
        self.escaped: list[Any] = []

    @property
    def took_s(self) -> float:
        """Return how long tokens were asked for: until the last client had its answer."""
        return (self._ended or time.monotonic()) - self._began

    def kill(self, router: int) -> None:
        """Let a router ask and give back nothing from now on."""
        self._killed.add(router)
        self._keeping[router].cancel()

    def left(self, bucket: str) -> float:
        """Return the most that any router believes to be left of a bucket."""
        return max(router.left(bucket) for router in self._routers)

    def row(self, bucket: str, allows: float) -> Row:
        return Row(bucket, allows, self.admitted[bucket], self.refused[bucket])

    async def stop(self) -> None:
        """End the clients, then the routers, as if they were killed. Raises what escaped to a client."""
        self._killed.update(range(len(self._routers)))
        await asyncio.gather(*self._asking)
        self._ended = time.monotonic()
        for task in self._keeping:
            task.cancel()
        self.escaped += [
            one
            for one in await asyncio.gather(*self._keeping, return_exceptions=True)
            if not isinstance(one, asyncio.CancelledError)
        ]
        for store in self.stores:
            await store.aclose()

    async def _ask(self, kind: Kind, router: int) -> None:
        while router not in self._killed:
            level, began = kind.level(self._clocks[router]), time.monotonic()
            self._count(level, await self._routers[router].take((level,), 1.0, kind.when_away))
            self.slow += time.monotonic() - began > SLOW_S
            await asyncio.sleep(_PAUSE_S)

    def _count(self, level: Level, answer: Answer) -> None:
        self.decisions += 1
        self.away[level.bucket] += answer.away
        (self.admitted if answer.taken.allowed else self.refused)[level.bucket] += 1


@asynccontextmanager
async def crowd(
    url: str,
    kinds: Sequence[Kind],
    skews: Sequence[float] = (0.0,) * ROUTERS,
    timeout_s: float = STORE_TIMEOUT_S,
) -> AsyncIterator[Crowd]:
    """Have the crowd ask until the end of the block; what escaped anywhere fails."""
    escaped = list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
    asking = Crowd(url, kinds, skews, timeout_s)
    try:
        yield asking
    finally:
        await asking.stop()
    assert escaped + asking.escaped == []


def rate_of(when_away: WhenAway) -> Kind:
    """Return a bucket."""
    level = Level("plan", f"rate, {when_away}", RATE)
    return Kind(lambda _: level, when_away)


def quota_of(requests: int, when_away: WhenAway) -> Kind:
    """Return a quota that lasts longer than any run."""
    now = time.time()
    level = Level("daily", f"quota, {when_away}", Window(requests, now - 60, now + 86_400), kind="quota")
    return Kind(lambda _: level, when_away)


def four_kinds(requests: int) -> list[Kind]:
    """Return a bucket and a quota of each mode."""
    modes: tuple[WhenAway, ...] = ("closed", "local")
    return [kind for mode in modes for kind in (rate_of(mode), quota_of(requests, mode))]


def failures() -> Counter[str]:
    """Count what the metrics say of the store, by cause."""
    return Counter({cause: int(metrics.LIMIT_STORE_FAILURES.value(cause)) for cause in ("timeout", "unavailable")})


def shown(title: str, rows: Sequence[Row], *notes: str) -> str:
    """Return a table, and print it (`pytest -s`)."""
    lines = [f"{'limit':<22}{'allows':>9}{'admitted':>10}{'refused':>10}{'over':>7}"]
    lines += [f"{r.limit:<22}{r.allows:>9.0f}{r.admitted:>10}{r.refused:>10}{r.over:>7.0f}" for r in rows]
    text = "\n".join([f"\n{title}", *lines, *notes])
    print(text)  # noqa: T201 -- for a person who runs it with -s
    return text
