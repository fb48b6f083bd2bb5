"""Any schedule of publishers, crashing workers, cancellations and retries keeps the bus's promises.

The schedules are random, from a seed that a failure prints: each accepted request gets exactly one result, and within a
lane both the first starts and the results come in the order of publication.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from apx.requests.model import Delivery, Envelope, Result
from apx.requests.ports import ProductBounds, Settlement

from .conftest import Ports
from .requests_examples import envelope, result

BOUNDS = (ProductBounds("orders", 6, 3), ProductBounds("tickets", 4, 2))
STEPS = 120


class Schedule:
    """Takes random steps and notes what it sees."""

    def __init__(self, ports: Ports, chance: random.Random) -> None:
        self.results = ports.results
        self.buses = [ports.bus, ports.another(), ports.another()]
        self.chance = chance
        self.accepted: list[Envelope] = []
        self.cancelled: set[str] = set()
        self.held: list[tuple[int, Delivery]] = []
        self.lost: list[tuple[int, Delivery]] = []
        self.started: dict[str, list[str]] = defaultdict(list)
        self.finished: dict[str, list[str]] = defaultdict(list)
        self.counted: Counter[str] = Counter()

    async def step(self) -> None:
        kinds: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self.publish,
            self.publish,
            self.receive,
            self.settle,
            self.settle,
            self.crash,
            self.cancel,
            self.come_back_late,
        ]
        await self.chance.choice(kinds)()

    async def publish(self) -> None:
        sent = [
            envelope(
                product=self.chance.choice(["orders", "tickets"]),
                org=self.chance.choice("abc"),
                lane=self.chance.choice("xy"),
            )
            for _ in range(self.chance.randint(1, 6))
        ]
        bus = self.chance.choice(self.buses)
        published = await asyncio.gather(*(bus.publish(e) for e in sent))
        assert {p.outcome for p in published} == {"accepted"}
        self.accepted += sent

    async def receive(self) -> None:
        worker = self.chance.randrange(len(self.buses))
        for delivery in await self.buses[worker].receive(f"w{worker}", BOUNDS, self.chance.randint(1, 8)):
            self.take(worker, delivery)

    def take(self, worker: int, delivery: Delivery) -> None:
        self.held.append((worker, delivery))
        started = self.started[lane(delivery.envelope)]
        if delivery.envelope.id not in started:
            started.append(delivery.envelope.id)

    async def settle(self) -> None:
        worker = self.chance.randrange(len(self.buses))
        mine = [held for held in self.held if held[0] == worker and self.chance.random() < 0.7]
        self.held = [held for held in self.held if held not in mine]
        settlements = [self.settlement(delivery) for _, delivery in mine]
        bus = self.buses[worker]
        settled = await bus.settle(settlements)
        if self.chance.random() < 0.3:
            assert await bus.settle(settlements) == settled
        for settlement, answer in zip(settlements, settled, strict=True):
            if answer.counted and settlement.result is not None:
                self.note(settlement.delivery)
            if answer.next is not None:
                self.take(worker, answer.next)

    def settlement(self, delivery: Delivery) -> Settlement:
        kind = self.chance.random()
        if kind < 0.15:
            return Settlement(delivery=delivery, retry_after_s=self.chance.choice([0, 0.02, 0.1]))
        if kind < 0.25:
            return Settlement(delivery=delivery, release=True)
        return Settlement(delivery=delivery, result=result(delivery), take_next=self.chance.random() < 0.5)

    def note(self, delivery: Delivery) -> None:
        self.counted[delivery.envelope.id] += 1
        self.finished[lane(delivery.envelope)].append(delivery.envelope.id)

    async def crash(self) -> None:
        if self.chance.random() < 0.3:
            worker = self.chance.randrange(len(self.buses))
            self.lost += [held for held in self.held if held[0] == worker]
            self.held = [held for held in self.held if held[0] != worker]

    async def come_back_late(self) -> None:
        """A worker that was thought dead settles what it held: it counts at most once."""
        if self.lost:
            worker, delivery = self.lost.pop(self.chance.randrange(len(self.lost)))
            [answer] = await self.buses[worker].settle([Settlement(delivery=delivery, result=result(delivery))])
            if answer.counted:
                self.note(delivery)

    async def cancel(self) -> None:
        if self.accepted and self.chance.random() < 0.5:
            request = self.chance.choice(self.accepted)
            standing = await self.results.put_if_absent(result(request, "cancelled"))
            if standing.state == "cancelled":
                self.cancelled.add(request.id)

    async def drain(self) -> None:
        """Let every request end: what crashed workers held comes back when their leases end."""
        async with asyncio.timeout(20):
            while await self.buses[0].depth():
                await self.receive()
                await self.settle()


def lane(request: Envelope) -> str:
    return f"{request.product}/{request.org}/{request.lane}"


@pytest.mark.parametrize("seed", range(3))
async def test_each_request_ends_once_and_lanes_keep_their_order(ports: Ports, seed: int) -> None:
    schedule = Schedule(ports, random.Random(seed))  # noqa: S311 -- a schedule, to be had again
    for _ in range(STEPS):
        await schedule.step()
    await schedule.drain()

    stored = await asyncio.gather(*(schedule.results.get(e.id) for e in schedule.accepted))
    for request, found in zip(schedule.accepted, stored, strict=True):
        assert isinstance(found, Result)
        assert (found.state == "cancelled") == (request.id in schedule.cancelled)
        assert schedule.counted[request.id] == (found.state == "succeeded")
    published: dict[str, list[str]] = defaultdict(list)
    for request in schedule.accepted:
        published[lane(request)].append(request.id)
    for name, ids in published.items():
        assert schedule.started[name] == [i for i in ids if i in schedule.started[name]]
        assert schedule.finished[name] == [i for i in ids if i in schedule.finished[name]]
