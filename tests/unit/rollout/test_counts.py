"""Counting in a process, and writing it to a store that is not always there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as some

from apx.backends.memory.counts import MemoryCounts
from apx.clock import ManualClock
from apx.errors import Misconfigured, Unavailable
from apx.rollout.counts import (
    BUCKETS_PER_DOUBLING,
    LEAST_LATENCY_S,
    MOST_BUCKET,
    MOST_WAITING_PAIRS,
    MOST_WAITING_S,
    By,
    Counts,
    Tally,
    Writer,
    bucket,
    upper_bound_s,
)
from apx.telemetry import metrics
from tests.unit.admission.until import turns, until


class Store(MemoryCounts):
    """The fake, with ways to take it away."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.error: Exception | None = None
        self.asked: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, process: str, counts: Mapping[str, Mapping[By, Counts]]) -> None:
        self.asked.append(sum(one.requests for by in counts.values() for one in by.values()))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        await super().write(process, counts)


class World:
    """A process that counts."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.tally = Tally()
        self.writer = Writer(self.store, "router-1", self.tally, clock=self.clock, every_s=0.001)
        self._dropped = self._lost()

    def count(self, requests: int = 1, org: str = "acme") -> None:
        self.tally.of("orders", "sha256:a", org).requests += requests

    async def written(self) -> int:
        return sum(counts.requests for counts in (await self.store.read("orders", 0)).by.values())

    def dropped(self) -> dict[str, float]:
        """What was dropped since the start of the test, by cause."""
        return {
            cause: lost - self._dropped[cause] for cause, lost in self._lost().items() if lost > self._dropped[cause]
        }

    def _lost(self) -> dict[str, float]:
        return {cause: metrics.COUNTS_DROPPED.value(cause) for cause in ("full", "write")}


@pytest.fixture
def world() -> World:
    return World()


@given(some.floats(min_value=0, max_value=1e9))
def test_a_latency_is_within_its_bucket(latency_s: float) -> None:
    at = bucket(latency_s)
    assert at == MOST_BUCKET or latency_s <= upper_bound_s(at) * (1 + 1e-12)
    assert at == 0 or latency_s > upper_bound_s(at - 1) * (1 - 1e-12)


def test_buckets_grow_by_the_same_factor() -> None:
    assert upper_bound_s(0) == LEAST_LATENCY_S
    assert upper_bound_s(BUCKETS_PER_DOUBLING * 3) == pytest.approx(8 * LEAST_LATENCY_S)


def test_a_tally_that_was_taken_begins_anew() -> None:
    tally = Tally()
    tally.answered("orders", "sha256:a", "acme", latency_s=0.5, failed=True)
    assert tally.take() == {
        "orders": {("sha256:a", "acme"): Counts(answers=1, errors=1, latency={bucket(0.5): 1})},
    }
    assert tally.take() == {}


async def test_what_was_counted_is_written(world: World) -> None:
    world.count(3)
    await world.writer.write()
    assert await world.written() == 3


async def test_what_was_written_is_not_written_again(world: World) -> None:
    world.count(3)
    await world.writer.write()
    await world.writer.write()
    assert await world.written() == 3


async def test_a_process_that_sees_nothing_says_that_it_is_there(world: World) -> None:
    await world.writer.write()
    assert (await world.store.read("orders", 0)).writers.keys() == {"router-1"}


async def test_a_write_that_may_have_been_done_is_not_repeated(world: World) -> None:
    world.store.error = Unavailable("away")
    world.count(3)
    await world.writer.write()
    world.store.error = None
    await world.writer.write()
    assert await world.written() == 0
    assert world.dropped() == {"write": 3}


async def test_what_is_counted_while_the_store_is_away_is_written_when_it_returns(world: World) -> None:
    world.store.error = Unavailable("away")
    await world.writer.write()
    for number in range(1, 6):
        world.count(number)
        await world.writer.write()
        world.clock.advance(1)
    assert set(world.store.asked) == {0}
    world.store.error = None
    await world.writer.write()
    assert await world.written() == 15
    assert world.dropped() == {}


async def test_counts_that_waited_too_long_are_dropped_and_newer_ones_kept(world: World) -> None:
    world.store.error = Unavailable("away")
    await world.writer.write()
    world.count(1)
    await world.writer.write()
    world.clock.advance(MOST_WAITING_S)
    world.count(10)
    await world.writer.write()
    world.clock.advance(1)
    world.store.error = None
    await world.writer.write()
    assert await world.written() == 10
    assert world.dropped() == {"full": 1}


async def test_what_waits_is_bounded(world: World) -> None:
    world.store.error = Unavailable("away")
    await world.writer.write()
    per_write = MOST_WAITING_PAIRS // 4
    for _ in range(6):
        for number in range(per_write):
            world.count(org=f"org-{number}")
        await world.writer.write()
    world.store.error = None
    await world.writer.write()
    assert await world.written() == 4 * per_write
    assert world.dropped() == {"full": 2 * per_write}


@pytest.mark.parametrize("error", [Unavailable("away"), Misconfigured("not for us"), RuntimeError("a bug")])
async def test_no_fault_of_the_store_ends_the_writing(world: World, error: Exception) -> None:
    running = asyncio.create_task(world.writer.run())
    world.store.error = error
    await until(lambda: len(world.store.asked) > 2)
    world.store.error = None
    world.count(5)
    await until(lambda: 5 in world.store.asked)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await world.written() == 5


async def test_what_was_counted_last_is_written_at_the_end(world: World) -> None:
    world.writer = Writer(world.store, "router-1", world.tally, clock=world.clock, every_s=3600)
    running = asyncio.create_task(world.writer.run())
    await turns()
    world.count(2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await world.written() == 2


async def test_an_end_in_the_middle_of_a_write_loses_nothing(world: World) -> None:
    world.store.gate.clear()
    world.count(1)
    running = asyncio.create_task(world.writer.run())
    await until(lambda: bool(world.store.asked))
    world.count(2)
    running.cancel()
    await turns()
    world.store.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await world.written() == 3


async def test_counting_goes_on_during_a_write(world: World) -> None:
    world.store.gate.clear()
    world.count(1)
    writing = asyncio.create_task(world.writer.write())
    await until(lambda: bool(world.store.asked))
    world.count(2)
    world.store.gate.set()
    await writing
    await world.writer.write()
    assert await world.written() == 3
