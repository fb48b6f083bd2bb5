"""Webhooks over every bus: what is killed half-way tells nothing twice and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from apx.backends.memory.webhooks import MemoryWebhooks
from apx.clock import SystemClock
from apx.errors import Unavailable
from apx.requests.model import Delivery, Envelope, Problem
from apx.requests.ports import Settlement
from apx.usage.events import Page, UsageLog
from apx.webhooks.forward import Dispatcher, Forwarder
from apx.webhooks.model import PRODUCT, Webhook
from apx.webhooks.replay import replay_deliveries
from apx.webhooks.terms import BOUNDS
from tests.contract.conftest import LEASE_S, Ports
from tests.contract.requests_examples import done, envelope, result, take, take_one

HOOK = Webhook(
    id="wh_1", org="acme", url="https://hooks.example", ordered=True, secret=b"sealed", created_ms=1, state_ms=1
)


class Killed:
    """A log whose reader dies before it forgets anything."""

    def __init__(self, log: UsageLog) -> None:
        self._log = log

    async def waiting(self, limit: int) -> Page | None:
        return await self._log.waiting(limit)

    async def forget(self, page: Page) -> None:
        raise Unavailable(f"killed before {page.name} is forgotten")


@pytest.fixture
async def store() -> MemoryWebhooks:
    store = MemoryWebhooks()
    await store.add(HOOK)
    return store


async def finished(ports: Ports, count: int) -> list[Envelope]:
    """Let so many requests end, one after the other."""
    sent = []
    for _ in range(count):
        now_ms = int(SystemClock().time() * 1000)
        one = envelope(accepted_ms=now_ms, deadline_ms=now_ms + 60_000)
        await ports.bus.publish(one)
        delivery = await take_one(ports.bus)
        ended = result(delivery, attempts=1, finished_ms=int(SystemClock().time() * 1000))
        await ports.bus.settle([Settlement(delivery=delivery, result=ended)])
        sent.append(one)
    return sent


def forwarder(ports: Ports, store: MemoryWebhooks, log: UsageLog | None = None) -> Forwarder:
    return Forwarder(log or ports.told, Dispatcher(store, ports.bus, SystemClock()))


async def delivered(ports: Ports, count: int) -> list[Delivery]:
    """Take so many deliveries, one after the other, and see that there is no other."""
    taken: list[Delivery] = []
    for _ in range(count):
        [one] = await take(ports.bus, bounds=(BOUNDS,))
        taken.append(one)
        await ports.bus.settle([done(one)])
    assert await ports.bus.receive("w", (BOUNDS,), 10) == []
    return taken


def requests(deliveries: Sequence[Delivery]) -> list[str]:
    return [msgspec.json.decode(one.envelope.body)["data"]["request"] for one in deliveries]


async def until_told(forwarding: Forwarder, count: int) -> None:
    """Forward until so many deliveries were queued; Pub/Sub takes its time."""
    queued, end = 0, asyncio.get_running_loop().time() + 15
    while queued < count:
        queued += await forwarding.forward()
        assert asyncio.get_running_loop().time() < end, queued
        await asyncio.sleep(0.02)


async def test_each_request_that_ended_is_told_once(ports: Ports, store: MemoryWebhooks) -> None:
    sent = await finished(ports, 4)
    await until_told(forwarder(ports, store), 4)
    assert set(requests(await delivered(ports, 4))) == {one.id for one in sent}


async def test_a_forwarder_that_is_killed_between_queuing_and_forgetting_tells_nothing_twice(
    ports: Ports, store: MemoryWebhooks
) -> None:
    sent = await finished(ports, 3)
    while (page := await ports.told.waiting(1000)) is None:  # noqa: ASYNC110 -- Pub/Sub takes its time
        await asyncio.sleep(0.02)
    log = Again(page)
    with pytest.raises(Unavailable):
        await forwarder(ports, store, Killed(log)).forward()
    await forwarder(ports, store, log).forward()
    told = requests(await delivered(ports, len(page.events)))
    assert len(told) == len(set(told))
    assert set(told) <= {one.id for one in sent}


class Again:
    """A log that offers one page until it is forgotten, as Pub/Sub would a minute later."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._forgotten = False

    async def waiting(self, limit: int) -> Page | None:
        del limit
        return None if self._forgotten else self.page

    async def forget(self, page: Page) -> None:
        assert page == self.page
        self._forgotten = True


async def test_a_worker_that_is_killed_after_it_sent_sends_it_again_under_the_same_id(
    ports: Ports, store: MemoryWebhooks
) -> None:
    await finished(ports, 1)
    await until_told(forwarder(ports, store), 1)
    [sent] = await take(ports.bus, bounds=(BOUNDS,))
    await asyncio.sleep(LEASE_S + 0.1)
    [again] = await take(ports.bus, bounds=(BOUNDS,))
    assert (again.attempt, again.crashes) == (2, 1)
    assert dict(again.envelope.headers)["webhook-id"] == dict(sent.envelope.headers)["webhook-id"]
    assert again.envelope.body == sent.envelope.body


async def test_what_was_given_up_is_replayed_in_its_order_under_its_ids_however_often_the_replay_dies(
    ports: Ports, store: MemoryWebhooks
) -> None:
    await finished(ports, 3)
    await until_told(forwarder(ports, store), 3)
    ids = []
    for number in range(3):
        [one] = await take(ports.bus, bounds=(BOUNDS,))
        ids.append(dict(one.envelope.headers)["webhook-id"])
        gone = Problem(code="webhook-disabled", detail="")
        ended = result(one, "failed", finished_ms=1000 + number, attempts=1)
        await ports.bus.settle([Settlement(delivery=one, result=ended, dead_letter=gone)])
    letters = await ports.bus.dead_letters(PRODUCT, 10)
    clock = SystemClock()
    assert len(letters) == 3

    class Dying(type(ports.bus)):  # type: ignore[misc]
        def __init__(self) -> None:
            """Stand for the bus of a process that dies."""

        publish, dead_letters = ports.bus.publish, ports.bus.dead_letters

        async def forget_dead_letter(self, letter_id: str) -> bool:
            raise Unavailable(f"killed before {letter_id} is forgotten")

    with pytest.raises(Unavailable):
        await replay_deliveries(Dying(), HOOK, clock)
    assert await replay_deliveries(ports.bus, HOOK, clock) == 3
    assert [dict(one.envelope.headers)["webhook-id"] for one in await delivered(ports, 3)] == ids
    assert await ports.bus.dead_letters(PRODUCT, 10) == []
