"""What every `UsageLog` promises: an event for each finished request, as durable as its result."""

from __future__ import annotations

import asyncio

import pytest
from valkey.asyncio import Valkey

from apx.requests.model import Envelope, Problem
from apx.requests.ports import ProductBounds, Settlement
from apx.usage.events import UsageEvent, UsageLog

from .conftest import LEASE_S, Ports, valkey_ports
from .requests_examples import BOUNDS, done, envelope, result, take, take_one


async def told(log: UsageLog, requests: int, within_s: float = 10.0) -> dict[str, UsageEvent]:
    """Read and forget events until there are those of so many requests, and no more come."""
    events: dict[str, UsageEvent] = {}
    end = asyncio.get_running_loop().time() + within_s
    while (page := await log.waiting(1000)) is not None or len(events) < requests:
        assert asyncio.get_running_loop().time() < end, sorted(events)
        if page is not None:
            assert all(events.get(event.request, event) == event for event in page.events)
            events |= {event.request: event for event in page.events}
            await log.forget(page)
        await asyncio.sleep(0.02)
    return events


async def accepted(ports: Ports, **changes: object) -> Envelope:
    sent = envelope(**changes)
    await ports.bus.publish(sent)
    return sent


async def test_an_event_tells_what_was_used_and_by_whom(ports: Ports) -> None:
    sent = await accepted(
        ports, key_id="key_7", plan="gold", cost=2.5, cost_usd=0.25, body=b"12345", accepted_ms=1_800_000_000_000
    )
    delivery = await take_one(ports.bus)
    outcome = result(
        delivery, attempts=1, status=201, body_bytes=4, started_ms=1_800_000_000_500, finished_ms=1_800_000_002_000
    )
    await ports.bus.settle([Settlement(delivery=delivery, result=outcome)])
    assert (await told(ports.usage, 1))[sent.id] == UsageEvent(
        request=sent.id,
        org="acme",
        product="orders",
        plan="gold",
        key_id="key_7",
        release="sha256:aa",
        mode="async",
        state="succeeded",
        status_class="2xx",
        accepted_ms=1_800_000_000_000,
        finished_ms=1_800_000_002_000,
        request_bytes=5,
        response_bytes=4,
        attempts=1,
        backend_s=1.5,
        cost_units=2.5,
        cost_usd=0.25,
    )


async def test_an_event_tells_what_the_answer_said_that_it_cost(ports: Ports) -> None:
    sent = await accepted(ports, cost_usd=0.25)
    delivery = await take_one(ports.bus)
    await ports.bus.settle([Settlement(delivery=delivery, result=result(delivery, cost_usd=0.75))])
    assert (await told(ports.usage, 1))[sent.id].cost_usd == 0.75


async def test_every_request_has_its_event_and_no_other(ports: Ports) -> None:
    sent = [await accepted(ports, lane=str(number % 7)) for number in range(40)]
    waiting = await take(ports.bus)
    while waiting:
        settled = await ports.bus.settle([done(one, take_next=True) for one in waiting])
        waiting = [one.next for one in settled if one.next] or await ports.bus.receive("w", BOUNDS, 100)
    assert set(await told(ports.usage, 40)) == {one.id for one in sent}


async def test_an_attempt_that_is_followed_by_another_has_no_event(ports: Ports) -> None:
    sent = await accepted(ports)
    await ports.bus.settle([Settlement(delivery=await take_one(ports.bus), retry_after_s=0.01)])
    again = await take_one(ports.bus)
    assert await ports.usage.waiting(10) is None
    await ports.bus.settle([done(again)])
    assert (await told(ports.usage, 1))[sent.id].attempts == 2


async def test_what_was_given_up_has_its_event(ports: Ports) -> None:
    sent = await accepted(ports)
    delivery = await take_one(ports.bus)
    gone = Settlement(
        delivery=delivery, result=result(delivery, "failed"), dead_letter=Problem(code="attempts-exhausted", detail="")
    )
    await ports.bus.settle([gone])
    assert (await told(ports.usage, 1))[sent.id].state == "failed"


async def test_a_settlement_that_is_sent_twice_counts_once(ports: Ports) -> None:
    sent = await accepted(ports)
    delivery = await take_one(ports.bus)
    for _ in range(2):
        await ports.bus.settle([done(delivery)])
    assert set(await told(ports.usage, 1)) == {sent.id}


async def test_a_worker_that_lost_its_lane_counts_nothing(ports: Ports) -> None:
    sent = await accepted(ports)
    stale = await take_one(ports.bus)
    await asyncio.sleep(LEASE_S + 0.1)
    fresh = await take_one(ports.bus)
    await ports.bus.settle([done(stale)])
    assert await ports.usage.waiting(10) is None
    await ports.bus.settle([done(fresh)])
    assert (await told(ports.usage, 1))[sent.id].attempts == 2


async def test_what_was_cancelled_while_it_waited_is_counted_under_its_own_key(ports: Ports) -> None:
    first = await accepted(ports)
    sent = await accepted(ports, key_id="key_9", plan="free", cost=3.0, cost_usd=0.5, body=b"\xff" * 1000)
    held = await take_one(ports.bus)
    await ports.results.put_if_absent(result(sent, "cancelled", release="", product="", body=b"", finished_ms=77))
    await ports.bus.settle([done(held)])
    assert await ports.bus.receive("w", BOUNDS, 1) == []
    events = await told(ports.usage, 2)
    assert set(events) == {first.id, sent.id}
    event = events[sent.id]
    assert (event.state, event.key_id, event.plan, event.product) == ("cancelled", "key_9", "free", "orders")
    assert (event.cost_units, event.cost_usd, event.request_bytes, event.finished_ms) == (3.0, 0.5, 1000, 77)
    assert event.release == "sha256:aa"


@pytest.mark.parametrize("late", [False, True], ids=["handed back", "finished all the same"])
async def test_what_was_cancelled_while_it_ran_is_counted_as_cancelled(ports: Ports, *, late: bool) -> None:
    sent = await accepted(ports)
    delivery = await take_one(ports.bus)
    await ports.results.put_if_absent(result(sent, "cancelled", attempts=1, status=None, finished_ms=3))
    await ports.bus.settle([done(delivery) if late else Settlement(delivery=delivery, release=True)])
    events = await told(ports.usage, 1)
    assert {id_: event.state for id_, event in events.items()} == {sent.id: "cancelled"}


async def test_what_is_not_forgotten_comes_again(ports: Ports) -> None:
    for number in range(3):
        await accepted(ports, lane=str(number))
    await ports.bus.settle([done(one) for one in await take(ports.bus)])
    page = await ports.usage.waiting(1000)
    assert page is not None
    if type(ports.usage).__name__ == "PubSubUsage":
        await ports.usage.forget(page)  # it comes again after the subscription's deadline, a minute
    else:
        assert await ports.usage.waiting(1000) == page
        await ports.usage.forget(page)
        await ports.usage.forget(page)
    assert await ports.usage.waiting(1000) is None


async def test_each_reader_has_every_event_and_forgets_for_itself_alone(ports: Ports) -> None:
    sent = await accepted(ports)
    await ports.bus.settle([done(await take_one(ports.bus))])
    assert set(await told(ports.told, 1)) == {sent.id}
    assert set(await told(ports.usage, 1)) == {sent.id}
    later = await accepted(ports)
    await ports.bus.settle([done(await take_one(ports.bus))])
    assert set(await told(ports.usage, 1)) == {later.id}
    assert set(await told(ports.told, 1)) == {later.id}


async def test_a_page_that_is_forgotten_late_takes_nothing_back(ports: Ports) -> None:
    await accepted(ports)
    await ports.bus.settle([done(await take_one(ports.bus))])
    first = await ports.told.waiting(1000)
    assert first is not None
    await ports.told.forget(first)
    later = await accepted(ports)
    await ports.bus.settle([done(await take_one(ports.bus))])
    assert set(await told(ports.told, 1)) == {later.id}
    await ports.told.forget(first)
    assert await ports.told.waiting(1000) is None


async def test_what_apx_does_of_itself_has_no_event(ports: Ports) -> None:
    own = (ProductBounds("apx-webhooks", 100, 100),)
    await accepted(ports, product="apx-webhooks", org="wh_1")
    delivery = (await take(ports.bus, bounds=own))[0]
    await ports.bus.settle([done(delivery)])
    waits = await accepted(ports, product="apx-webhooks", org="wh_1")
    await ports.results.put_if_absent(result(waits, "cancelled"))
    assert await ports.bus.receive("w", own, 1) == []
    counted = await accepted(ports)
    await ports.bus.settle([done(await take_one(ports.bus))])
    assert set(await told(ports.usage, 1)) == {counted.id}
    assert set(await told(ports.told, 1)) == {counted.id}


async def test_what_every_reader_has_read_is_dropped_from_valkey_and_nothing_before(valkey: Valkey) -> None:
    async with valkey_ports(valkey) as ports:
        await accepted(ports)
        await ports.bus.settle([done(await take_one(ports.bus))])
        await told(ports.usage, 1)
        assert await valkey.xlen("apx:usage") == 1
        await told(ports.told, 1)
        assert await valkey.xlen("apx:usage") == 0
