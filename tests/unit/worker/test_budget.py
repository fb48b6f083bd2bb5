from __future__ import annotations

from apx.catalog.model import Retry
from apx.clock import ManualClock
from apx.requests.execution_budget import LONGEST_WAIT_S, MOST, RESERVE, Budget, Budgets
from tests.unit.worker.world import World, eventually, spec_for

IN_A_STORM = Retry(attempts=5, initial_backoff_s=0.01, max_backoff_s=0.05)


def granted(budget: Budget, asked: int) -> int:
    return sum(budget.retry() for _ in range(asked))


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


def test_the_more_are_waiting_the_less_often_each_asks() -> None:
    budget = Budget(ManualClock())
    first = budget.wait_s(0.0)
    granted(budget, 100_000)
    assert (first, budget.wait_s(0.0), budget.wait_s(1.0)) == (1.0, LONGEST_WAIT_S, 2 * LONGEST_WAIT_S)


def test_one_products_storm_does_not_take_anothers_retries() -> None:
    budgets = Budgets(ManualClock())
    granted(budgets.of("storm"), 1000)
    assert granted(budgets.of("calm"), 1000) == RESERVE


async def test_in_a_storm_the_backend_gets_few_extra_calls(world: World) -> None:
    world.spec = spec_for(world.url, retry=IN_A_STORM)
    for n in range(500):
        await world.publish("/null", org=f"org-{n}", headers=(("x-demo-fail", "503"),))
    async with world.working():
        await eventually(lambda: sum(not wait.counts for wait in world.lanes.waits) > 500)
    assert len({dict(entry.headers)["idempotency-key"] for entry in world.received()}) == 500
    assert len(world.received()) <= 550
    assert world.lanes.results == {}


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
