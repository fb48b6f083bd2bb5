"""One monitor leads, the others stand by; no fault ends any of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from apx.backends.memory.leases import MemoryLeases
from apx.clock import ManualClock
from apx.errors import Unavailable
from services.monitor.app import Monitor
from tests.unit.admission.until import until


class Looks:
    """Counts the looks, and fails when told to."""

    def __init__(self) -> None:
        self.looked = 0
        self.error: Exception | None = None

    async def look(self) -> None:
        self.looked += 1
        if self.error is not None:
            raise self.error


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.leases = MemoryLeases(self.clock)
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, name: str) -> tuple[Monitor, Looks]:
        looks = Looks()
        monitor = Monitor(looks, self.leases, name=name, every_s=0.005, lease_s=5.0)
        self.tasks.append(asyncio.ensure_future(monitor.run()))
        return monitor, looks


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for task in world.tasks:
        task.cancel()
    await asyncio.gather(*world.tasks, return_exceptions=True)


def ready(monitor: Monitor) -> Callable[[], bool]:
    return lambda: monitor.ready


async def test_one_of_two_leads_and_looks(world: World) -> None:
    first, looks = world.start("first")
    await until(lambda: looks.looked > 2)
    second, idle = world.start("second")
    await until(ready(second))
    assert (first.leads, second.leads, idle.looked) == (True, False, 0)


async def test_one_that_stops_is_followed_at_once(world: World) -> None:
    first, looks = world.start("first")
    await until(lambda: looks.looked > 0)
    second, _ = world.start("second")
    first.stop()
    await until(lambda: second.leads)
    assert not first.leads


async def test_one_that_was_killed_is_followed_when_its_lease_is_over(world: World) -> None:
    assert await world.leases.hold("monitor", "killed", 5.0)
    follower, idle = world.start("follower")
    await until(ready(follower))
    assert (follower.leads, idle.looked) == (False, 0)
    world.clock.advance(5.1)
    await until(lambda: follower.leads)


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a bug of ours")])
async def test_a_fault_makes_it_unready_until_a_look_goes_well(world: World, error: Exception) -> None:
    monitor, looks = world.start("first")
    await until(ready(monitor))
    looks.error = error
    await until(lambda: not monitor.ready)
    looks.error = None
    await until(ready(monitor))
