from __future__ import annotations

import asyncio

from apx.catalog.model import Retry
from apx.clock import ManualClock
from apx.requests.execution_budget import MOST, RESERVE, Budget, Budgets
from tests.unit.worker.world import World, eventually, spec_for

IN_A_STORM = Retry(attempts=5, initial_backoff_s=0.01, max_backoff_s=0.05)


def granted(budget: Budget, asked: int) -> int:
    return sum(budget.take() for _ in range(asked))


def test_a_few_retries_are_always_granted() -> None:
    assert granted(Budget(ManualClock()), 1000) == RESERVE


def test_in_a_storm_retries_are_a_small_share_of_first_calls() -> None:
    budget = Budget(ManualClock())
    extra = 0
    for _ in range(1000):
        budget.first()
        extra += granted(budget, 4)
    assert extra <= 50


def test_a_dead_backend_is_tried_now_and_then() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    granted(budget, 1000)
    clock.advance(10)
    assert granted(budget, 1000) == 5


def test_retries_that_succeed_bring_more_retries() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    granted(budget, 1000)
    clock.advance(2)
    rounds = []
    for _ in range(5):
        rounds.append(granted(budget, 1000))
        for _ in range(rounds[-1]):
            budget.succeeded(retried=True)
    assert rounds == [1, 2, 4, 8, 16]


def test_tokens_are_not_hoarded_in_good_times() -> None:
    budget = Budget(ManualClock())
    for _ in range(10_000):
        budget.first()
        budget.succeeded(retried=False)
    assert granted(budget, 1000) == RESERVE
    for _ in range(10_000):
        budget.succeeded(retried=True)
    assert granted(budget, 1000) == MOST


async def test_who_waits_is_served_in_turn_and_gives_up_in_time() -> None:
    budget = Budget(ManualClock())
    granted(budget, 1000)
    served: list[int] = []

    async def wait(number: int, timeout_s: float) -> bool:
        got = await budget.wait(timeout_s)
        if got:
            served.append(number)
        return got

    waits = [asyncio.create_task(wait(n, 0.05 if n == 1 else 5)) for n in range(3)]
    assert not await waits[1]
    budget.succeeded(retried=True)
    assert await waits[0]
    assert await waits[2]
    assert (served, budget.waiting) == ([0, 2], 0)


def test_one_products_storm_does_not_take_anothers_retries() -> None:
    budgets = Budgets(ManualClock())
    granted(budgets.of("storm"), 1000)
    assert granted(budgets.of("calm"), 1000) == RESERVE


async def test_in_a_storm_the_backend_gets_few_extra_calls(world: World) -> None:
    world.spec = spec_for(world.url, retry=IN_A_STORM)
    for n in range(500):
        await world.publish("/null", org=f"org-{n}", headers=(("x-demo-fail", "503"),))
    async with world.working(concurrency=16):
        await eventually(lambda: len(world.received()) >= RESERVE + 16)
        await asyncio.sleep(0.5)
    calls = [dict(entry.headers)["idempotency-key"] for entry in world.received()]
    assert len(calls) - len(set(calls)) <= RESERVE + 2
    assert world.lanes.results == {}


async def test_one_products_storm_leaves_room_for_the_others(world: World) -> None:
    world.spec = spec_for(world.url, retry=IN_A_STORM)
    for n in range(200):
        await world.publish("/null", org=f"org-{n}", headers=(("x-demo-fail", "503"),))
    async with world.working(concurrency=8):
        await eventually(lambda: len(world.received()) > RESERVE + 8)
        calm = await world.publish("/null", product="calm")
        assert (await world.result_of(calm)).state == "succeeded"


async def test_retries_that_wait_are_handed_back_at_once_when_the_worker_drains(world: World) -> None:
    world.spec = spec_for(world.url, retry=IN_A_STORM)
    for n in range(50):
        await world.publish("/null", org=f"org-{n}", headers=(("x-demo-fail", "503"),))
    worker = world.worker(drain_s=30)
    task = asyncio.create_task(worker.run())
    await eventually(lambda: len(world.received()) >= 50 + RESERVE and worker.in_flight >= 40)
    worker.stop()
    await asyncio.wait_for(task, 5)
    assert len(world.lanes.released) >= 40


async def test_requests_outlive_a_storm(world: World) -> None:
    world.spec = spec_for(world.url, retry=IN_A_STORM)
    published = [await world.publish("/null", org=f"org-{n}", headers=(("x-demo-fail", "503,1"),)) for n in range(300)]
    async with world.working():
        results = [await world.result_of(envelope, 20) for envelope in published]
    assert {result.state for result in results} == {"succeeded"}
    assert {result.attempts for result in results} == {2}


async def test_retry_after_is_kept_to(world: World) -> None:
    world.spec = spec_for(world.url, retry=Retry(attempts=3, initial_backoff_s=0.01, max_backoff_s=1.0))
    headers = (("x-demo-fail", "429,1"), ("x-demo-retry-after", "1"))
    envelope = await world.publish("/null", headers=headers)
    async with world.working():
        await world.result_of(envelope)
    first, second = world.received()
    assert 950 <= second.received_ms - first.received_ms <= 2000
