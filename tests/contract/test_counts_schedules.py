"""Any schedule of writers and any span: what is read is what a plain sum over the whole seconds says.

The schedules are random, from a seed that a failure prints. Time is the test's own on both stores.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Mapping

import pytest
from valkey.asyncio import Valkey

from apx.backends.memory.counts import MemoryCounts
from apx.backends.valkey.counts import ValkeyCounts
from apx.clock import ManualClock
from apx.rollout.counts import By, Counts, CountStore, Tally
from tests.contract.conftest import connected

_TIMED = """
local server = redis
local redis = { call = function(verb, ...)
  if verb ~= 'TIME' then return server.call(verb, ...) end
  local ms = tonumber(server.call('GET', 'apx:test:ms'))
  return { tostring(math.floor(ms / 1000)), tostring(ms % 1000 * 1000) }
end }
"""


class TimedCounts(ValkeyCounts):
    """The adapter on a server whose time the test moves."""

    def __init__(self, client: Valkey, clock: ManualClock) -> None:
        super().__init__(client)
        self._clock = clock
        self._add._source = _TIMED + self._add._source  # noqa: SLF001 -- a server's clock cannot be set
        self._add._sha = hashlib.sha1(self._add._source.encode(), usedforsecurity=False).hexdigest()  # noqa: SLF001

    async def write(self, process: str, counts: Mapping[str, Mapping[By, Counts]]) -> None:
        await self._client.set("apx:test:ms", int(self._clock.time() * 1000))
        await super().write(process, counts)

    async def _now(self) -> tuple[int, dict[str, int]]:
        _, writers = await super()._now()
        return int(self._clock.time() * 1000), writers


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[CountStore]:
    if request.param == "memory":
        yield MemoryCounts(clock)
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield TimedCounts(client, clock)


class Schedule:
    """Writes and lets time pass at random, and remembers each write."""

    def __init__(self, store: CountStore, clock: ManualClock, chance: random.Random) -> None:
        self.store = store
        self.clock = clock
        self.chance = chance
        self.written: list[tuple[int, str, dict[By, Counts]]] = []

    @property
    def now_ms(self) -> int:
        return int(self.clock.time() * 1000)

    async def step(self) -> None:
        writes = [(f"process-{n}", self._tally().take()) for n in range(self.chance.randint(1, 3))]
        await asyncio.gather(*(self.store.write(process, counts) for process, counts in writes))
        for _, counts in writes:
            self.written += [(self.now_ms, product, by) for product, by in counts.items()]
        self.clock.advance(self.chance.choice([0.001, 0.2, 0.999, 1, 3.5, 20, 59, 60, 61, 400]))

    def _tally(self) -> Tally:
        tally = Tally()
        for _ in range(self.chance.randint(0, 6)):
            product, release, org = self.chance.choice("op"), self.chance.choice("rs"), self.chance.choice("abc")
            if self.chance.random() < 0.5:
                tally.of(product, release, org).requests += 1
            else:
                tally.answered(product, release, org, latency_s=self.chance.random() ** 4, failed=False)
        return tally

    def span(self) -> tuple[int, int | None]:
        past_ms = self.chance.choice([1, 60, 600, 3600, 2 * 86400]) * 1000
        since_ms = self.now_ms - self.chance.randint(0, past_ms)
        if self.chance.random() < 0.4:
            return since_ms // 60_000 * 60_000 if self.chance.random() < 0.5 else since_ms, None
        return since_ms, self.chance.randint(since_ms - 1000, self.now_ms + 1000)

    def expected(self, product: str, since_ms: int, until_ms: int | None) -> dict[By, Counts]:
        total: dict[By, Counts] = {}
        for at_ms, written, by in self.written:
            if written == product and self.holds(at_ms // 1000, since_ms, until_ms):
                for pair, counts in by.items():
                    total.setdefault(pair, Counts(latency={})).add(counts)
        return total

    def holds(self, second: int, since_ms: int, until_ms: int | None) -> bool:
        """Ask of one second what the port says: is it wholly in the span, and is it, or its whole minute, kept?"""

        def inside(start: int, stop: int) -> bool:
            # Nothing comes after now, so that a span that reaches beyond it holds what has begun.
            ends = until_ms is None or stop * 1000 <= until_ms
            begun = until_ms is None or (now + 1) * 1000 <= until_ms
            return start * 1000 >= since_ms and (ends or (begun and stop > now))

        now = self.now_ms // 1000
        minute = second // 60 * 60
        if inside(minute, minute + 60) and minute >= now - 2 * 86400:
            return True
        return inside(second, second + 1) and minute >= now - 3600


@pytest.mark.parametrize("seed", range(6))
async def test_any_span_holds_what_was_written_in_it(store: CountStore, clock: ManualClock, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 -- a schedule, to be had again
    schedule = Schedule(store, clock, chance)
    for _ in range(60):
        await schedule.step()
        for _ in range(3):
            product, (since_ms, until_ms) = chance.choice("op"), schedule.span()
            read = await store.read(product, since_ms, until_ms)
            assert read.by == schedule.expected(product, since_ms, until_ms), (schedule.now_ms, since_ms, until_ms)


async def test_a_growing_span_holds_each_write_once(store: CountStore, clock: ManualClock) -> None:
    began_ms = int(clock.time() * 1000)
    for count in range(1, 300):
        await store.write("router-1", {"orders": {("r", "acme"): Counts(requests=1, latency={})}})
        assert (await store.read("orders", began_ms)).by["r", "acme"].requests == count
        clock.advance(1)


async def test_what_is_older_than_an_hour_is_there_by_whole_minutes(store: CountStore, clock: ManualClock) -> None:
    start_s = int(clock.time()) // 60 * 60 + 60
    clock.advance(start_s - clock.time() + 10)
    await store.write("router-1", {"orders": {("r", "acme"): Counts(requests=1, latency={})}})
    clock.advance(3700)
    assert (await store.read("orders", start_s * 1000)).by
    assert not (await store.read("orders", start_s * 1000 + 5000)).by


async def test_what_is_older_than_two_days_is_gone(store: CountStore, clock: ManualClock) -> None:
    await store.write("router-1", {"orders": {("r", "acme"): Counts(requests=1, latency={})}})
    clock.advance(2 * 86400 - 120)
    assert (await store.read("orders", 0)).by
    clock.advance(300)
    assert not (await store.read("orders", 0)).by
