from __future__ import annotations

import asyncio

import pytest

from apx.admission.shedding import COLLECTING, LOOK_S, Shedder
from apx.clock import ManualClock

FREE, PRO, ENTERPRISE = 0, 5, 10
LATE_S = 0.002


class Router:
    """A shedder with three plans, and how late its loop is."""

    def __init__(self, *, least: int = 6, most: int = 60, chance: float = 0.0) -> None:
        self.clock = ManualClock()
        self.shedder = Shedder(self.clock, least=least, most=most, late_s=LATE_S, chance=lambda: chance)
        self.shedder.rank((FREE, PRO, ENTERPRISE, PRO))

    def fill(self, priority: int) -> int:
        """Take on all that there is room for; return how much that was."""
        taken = 0
        while self.shedder.enter(priority):
            taken += 1
        return taken

    def drown(self) -> None:
        """Be late with much under way until the limit is as low as it gets; then have it all done."""
        taken = self.fill(ENTERPRISE)
        self.look(1.0, times=20)
        for _ in range(taken):
            self.shedder.leave(ENTERPRISE)

    def look(self, late_s: float, times: int = 1) -> None:
        """Let the loop be that late for so many looks."""
        for _ in range(times):
            for _ in range(4):
                self.clock.advance(LOOK_S / 4)
                self.shedder.waited(late_s)


def test_each_plan_has_its_share_and_who_collects_has_more_than_any() -> None:
    taken = [Router().fill(priority) for priority in (FREE, PRO, ENTERPRISE, COLLECTING)]
    assert taken == [40, 50, 60, 75]


def test_what_a_low_plan_may_not_use_is_free_for_a_higher_one_at_once() -> None:
    router = Router()
    assert [router.fill(priority) for priority in (FREE, PRO, ENTERPRISE, COLLECTING)] == [40, 10, 10, 15]


def test_a_flood_of_who_collects_leaves_the_plans_their_half() -> None:
    """Polls cost their sender next to nothing, and anybody's go before all plans."""
    router = Router()
    assert router.fill(COLLECTING) == 75
    assert [router.fill(priority) for priority in (FREE, PRO, ENTERPRISE)] == [10, 10, 10]
    for _ in range(75):
        router.shedder.leave(COLLECTING)
    assert [router.fill(priority) for priority in (FREE, PRO, ENTERPRISE)] == [10, 10, 10]


def test_a_flood_of_the_highest_plan_leaves_the_lower_ones_nothing() -> None:
    router = Router()
    router.fill(ENTERPRISE)
    assert (router.fill(PRO), router.fill(FREE)) == (0, 0)


def test_priorities_are_an_order_not_a_distance() -> None:
    near, far = Router(), Router()
    near.shedder.rank((0, 1))
    far.shedder.rank((0, 100))
    assert (near.fill(0), near.fill(1)) == (far.fill(0), far.fill(100)) == (45, 15)


def test_a_single_plan_has_everything() -> None:
    router = Router()
    router.shedder.rank((50,))
    assert router.fill(50) == 60


def test_a_priority_that_no_plan_has_counts_as_the_lowest() -> None:
    assert Router().fill(99) == Router().fill(FREE)


def test_done_work_makes_room() -> None:
    router = Router()
    router.fill(FREE)
    router.shedder.leave(FREE)
    assert router.fill(FREE) == 1


def test_what_has_arrived_and_has_not_begun_takes_room_too() -> None:
    router = Router()
    for _ in range(40):
        router.shedder.arrive()
    assert router.shedder.pressed()
    assert not router.shedder.has_room(FREE)
    router.shedder.begin()
    assert router.shedder.has_room(FREE)


def test_a_loop_that_stays_late_lowers_the_limit_below_what_was_under_way() -> None:
    router = Router()
    router.fill(FREE)
    router.look(2 * LATE_S)
    assert router.shedder.limit == 20
    assert not router.shedder.has_room(FREE)


def test_one_long_stop_of_the_loop_is_no_overload() -> None:
    router = Router()
    router.fill(ENTERPRISE)
    router.clock.advance(1.0)
    router.shedder.waited(1.0)
    assert router.shedder.limit == 60
    router.clock.advance(LOOK_S)
    for _ in range(3):
        router.shedder.waited(0.0)
    assert router.shedder.limit == 60


def test_a_late_loop_with_little_under_way_is_not_late_because_of_it() -> None:
    """A machine that has no time for this process: whoever turned requests away for that would help nobody."""
    router = Router()
    for _ in range(5):
        assert router.shedder.enter(FREE)
    router.look(1.0, times=20)
    assert router.shedder.limit == 60


def test_the_limit_never_falls_below_the_least() -> None:
    router = Router()
    router.drown()
    assert router.shedder.limit == 6
    assert router.fill(FREE) == 4


def test_a_limit_that_is_used_recovers_within_a_second_and_one_that_is_not_within_four() -> None:
    used, unused = Router(), Router()
    for router in (used, unused):
        router.drown()
    for _ in range(int(1 / LOOK_S)):
        used.fill(ENTERPRISE)
        used.look(0.0)
    unused.look(0.0, times=int(4 / LOOK_S))
    assert (used.shedder.limit, unused.shedder.limit) == (60, 60)


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 1), (0.5, 3), (0.999, 5)])
def test_who_is_turned_away_comes_back_at_another_time_than_the_others(chance: float, seconds: int) -> None:
    assert Router(chance=chance).shedder.retry_after_s() == seconds


async def test_the_watch_sees_how_long_what_is_ready_waits() -> None:
    """Each task of the loop takes 5 ms of the clock that the shedder reads."""
    router = Router()
    router.fill(FREE)

    async def busy() -> None:
        while True:
            router.clock.advance(0.005)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(router.shedder.watch()), asyncio.create_task(busy())]
    async with asyncio.timeout(10):
        while router.shedder.limit > 20:  # noqa: ASYNC110 -- a number, no event
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
