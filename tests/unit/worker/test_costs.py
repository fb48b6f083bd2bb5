"""Costs that the answer tells, on their way to the budgets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from apx.backends.memory.limits import MemoryLimits
from apx.catalog.model import Cost, CostFrom
from apx.clock import SystemClock
from apx.errors import Misconfigured, Unavailable
from apx.limits.store import Settle
from apx.requests.model import DeadLetter, Reserved
from apx.requests.receipt import Receipts
from apx.requests.replay import replayed
from services.worker.costs import Costs
from tests.unit.worker.scripted import Answer, ScriptedClient
from tests.unit.worker.world import World, envelope_for

END_S = time.time() + 3600


class Limits(MemoryLimits):
    """The fake, away for so many calls; notes what arrived."""

    def __init__(self, away: int = 0) -> None:
        super().__init__(SystemClock())
        self.away = away
        self.told: list[Settle] = []

    async def settle(self, costs: Sequence[Settle]) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        self.told += costs


def world(*script: Any, cost: Cost) -> World:
    made = World(0, None, ScriptedClient(*script))  # type: ignore[arg-type]  # nothing of the demo backend is looked at
    made.spec = msgspec.structs.replace(made.spec, cost=cost)
    made.limits = Limits()
    return made


async def spent(made: World, **fields: Any) -> tuple[float | None, list[int]]:
    """Carry one request out; return what its result says and what the budget was told."""
    async with made.working() as worker:
        envelope = await made.publish(cost_usd=0.5, reserved=(Reserved("b", END_S, 0.5),), **fields)
        result = await made.result_of(envelope)
        async with asyncio.timeout(5):
            while worker.in_flight:  # noqa: ASYNC110 -- another task's count, no event
                await asyncio.sleep(0.01)
        await asyncio.sleep(0)  # the budgets are told in the next turn
    assert isinstance(made.limits, Limits)
    return result.cost_usd, [round(one.tokens) for one in made.limits.told]


TOKENS = Cost(from_=CostFrom(json="/tokens", usd_per_unit=0.001))


async def test_a_charge_waits_too_while_the_store_refuses_this_process() -> None:
    class Refusing(Limits):
        async def settle(self, costs: Sequence[Settle]) -> None:
            try:
                await super().settle(costs)
            except Unavailable:
                raise Misconfigured("the store refused this process") from None

    limits = Refusing(away=2)
    costs = Costs(limits, again_s=0.0)
    costs.settle([Settle("b", END_S, 5.0)])
    await costs.aclose(5)
    assert [one.tokens for one in limits.told] == [5.0]


async def test_the_difference_is_charged() -> None:
    assert await spent(world(Answer(pieces=(b'{"tokens": 800}',)), cost=TOKENS)) == (0.8, [300_000])


async def test_what_was_too_much_is_given_back() -> None:
    assert await spent(world(Answer(pieces=(b'{"tokens": 100}',)), cost=TOKENS)) == (0.1, [-400_000])


async def test_an_answer_that_does_not_say_changes_nothing() -> None:
    assert await spent(world(Answer(pieces=(b"{}",)), cost=TOKENS)) == (None, [])


@pytest.mark.parametrize(("on_failure", "told"), [("return", (0.0, [-500_000])), ("keep", (None, []))])
async def test_a_request_that_fails_costs_what_the_product_says(on_failure: Any, told: Any) -> None:
    assert await spent(world(Answer(status=400), cost=Cost(usd=0.5, on_failure=on_failure))) == told


async def test_what_is_charged_is_sent_until_it_is_taken_and_what_is_given_back_once() -> None:
    limits = Limits(away=2)
    costs = Costs(limits, again_s=0.01)
    costs.settle([Settle("b", END_S, 5), Settle("c", END_S, -5)])
    await costs.aclose(5)
    assert limits.told == [Settle("b", END_S, 5)]


async def test_a_store_that_stays_away_holds_nobody_up() -> None:
    costs = Costs(Limits(away=1_000_000), again_s=0.01)
    costs.settle([Settle("b", END_S, 5)])
    async with asyncio.timeout(5):
        await costs.aclose(0.05)


def test_a_replay_is_charged_when_it_has_its_result() -> None:
    envelope = envelope_for(cost_usd=0.5, reserved=(Reserved("b", END_S, 0.5),))
    letter = DeadLetter(id="d", envelope=envelope, reason="r", detail="", attempts=1, at_ms=0)
    again = replayed(letter, Receipts([b"r" * 32], "eu"), SystemClock(), lambda size: b"x" * size)
    assert (again.cost_usd, again.reserved) == (0.5, (Reserved("b", END_S, 0.0),))
