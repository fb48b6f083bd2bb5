from __future__ import annotations

import asyncio

import pytest

from apx.backends.memory.usage import MemoryUsage
from apx.errors import Unavailable
from apx.requests.model import Envelope, Result
from apx.requests.ports import Published
from apx.usage.events import Page
from apx.webhooks import forward
from apx.webhooks.forward import Dispatcher, Forwarder
from apx.webhooks.model import Webhook
from apx.webhooks.terms import BOUNDS
from tests.unit.webhooks.examples import Telling, webhook


def ended(log: MemoryUsage, telling: Telling, request: str, org: str = "acme") -> None:
    """Write that a request has ended."""
    log.reader("webhooks")
    envelope = Envelope(
        id=request,
        org=org,
        key_id="key_1",
        product="orders",
        release="sha256:00",
        lane="org",
        method="POST",
        path="/",
        query="",
        headers=(),
        body=b"",
        accepted_ms=telling.now_ms,
        deadline_ms=2**50,
        timeout_s=1.0,
    )
    log.note(
        envelope,
        Result(
            id=request,
            org=org,
            product="orders",
            release="sha256:00",
            state="succeeded",
            accepted_ms=telling.now_ms,
            finished_ms=telling.now_ms,
        ),
    )


@pytest.fixture
def telling() -> Telling:
    return Telling()


@pytest.fixture
def log() -> MemoryUsage:
    return MemoryUsage()


def forwarder(log: MemoryUsage, telling: Telling) -> Forwarder:
    return Forwarder(log.reader("webhooks"), telling.dispatcher)


async def taken(telling: Telling) -> list[str]:
    """Deliver all that waits; return the ids under which it was sent."""
    while await telling.attempt():
        pass
    return [headers["webhook-id"] for headers in telling.sent()]


async def test_each_webhook_that_wants_it_gets_a_delivery(telling: Telling, log: MemoryUsage) -> None:
    await telling.store.add(webhook("wh_1"))
    await telling.store.add(webhook("wh_2", events=("request.failed",)))
    await telling.store.add(webhook("wh_3", products=("exports",)))
    await telling.store.add(webhook("wh_4", org="globex"))
    await telling.store.add(webhook("wh_5", state="disabled"))
    ended(log, telling, "req_1")
    assert await forwarder(log, telling).forward() == 1
    assert await telling.bus.depth() == {("apx-webhooks", "wh_1"): 1}


async def test_what_was_forwarded_is_forgotten_by_this_reader_alone(telling: Telling, log: MemoryUsage) -> None:
    ended(log, telling, "req_1")
    await forwarder(log, telling).forward()
    assert await log.reader("webhooks").waiting(10) is None
    assert await log.waiting(10) is not None


async def test_a_forwarder_that_is_killed_before_it_forgets_queues_nothing_twice(
    telling: Telling, log: MemoryUsage
) -> None:
    await telling.store.add(webhook())
    for number in range(3):
        ended(log, telling, f"req_{number}")

    class Killed(MemoryUsage):
        async def waiting(self, limit: int) -> Page | None:
            return await log.reader("webhooks").waiting(limit)

        async def forget(self, page: Page) -> None:
            raise Unavailable(f"killed before {page.name}")

    with pytest.raises(Unavailable):
        await Forwarder(Killed(), telling.dispatcher).forward()
    another = Dispatcher(telling.store, telling.bus, telling.clock)
    await Forwarder(log.reader("webhooks"), another).forward()
    ids = await taken(telling)
    assert len(ids) == len(set(ids)) == 3


async def test_one_that_was_sent_already_is_not_sent_again_when_its_event_comes_again(
    telling: Telling, log: MemoryUsage
) -> None:
    await telling.store.add(webhook())
    ended(log, telling, "req_1")
    page = await log.reader("webhooks").waiting(10)
    await forwarder(log, telling).forward()
    assert len(await taken(telling)) == 1
    assert page is not None
    await telling.tell("req_1")
    assert len(await taken(telling)) == 1


async def test_deliveries_of_an_ordered_webhook_are_queued_in_the_order_of_what_happened(
    telling: Telling, log: MemoryUsage
) -> None:
    await telling.store.add(webhook(ordered=True))
    for number in range(20):
        ended(log, telling, f"req_{number:02d}")
    await forwarder(log, telling).forward()
    expected = [telling.ended(f"req_{number:02d}").message_id("wh_1") for number in range(20)]
    assert await taken(telling) == expected


async def test_a_webhook_for_which_too_many_wait_is_disabled_and_the_others_told(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "MOST_WAITING", 2)
    await telling.store.add(webhook("wh_1", events=("request.succeeded",)))
    await telling.store.add(webhook("wh_2", events=("webhook.disabled",)))
    await telling.tell("req_1", "req_2", "req_3")
    full = await telling.store.find("wh_1")
    assert full is not None
    assert (full.state, full.reason) == ("disabled", "over 10000 events wait for it")
    assert (await telling.bus.depth())["apx-webhooks", "wh_2"] == 1


async def test_two_webhooks_for_which_too_many_wait_are_disabled_and_do_not_tell_each_other_for_ever(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "MOST_WAITING", 2)
    disabled: list[str] = []

    async def disable(full: Webhook, reason: str) -> None:
        assert len(disabled) < 4, f"again and again: {disabled}"
        disabled.append(full.id)
        await telling.health.disable(full, reason)

    telling.dispatcher.on_overflow = disable
    for webhook_id in ("wh_1", "wh_2"):
        await telling.store.add(webhook(webhook_id))
    await telling.tell("req_1", "req_2", "req_3")
    assert sorted(disabled) == ["wh_1", "wh_2"]
    assert not any(one.enabled for one in await telling.store.of_org("acme"))


async def test_a_store_that_is_away_leaves_events_where_they_are(telling: Telling, log: MemoryUsage) -> None:
    ended(log, telling, "req_1")
    away = True

    class Store(type(telling.store)):  # type: ignore[misc]
        async def of_org(self, org: str) -> list[object]:
            if away:
                raise Unavailable("away")
            return [webhook(org=org)]

    forwarding = Forwarder(log.reader("webhooks"), Dispatcher(Store(), telling.bus, telling.clock))
    with pytest.raises(Unavailable):
        await forwarding.forward()
    away = False
    assert await forwarding.forward() == 1


async def test_it_goes_on_after_what_nobody_foresaw(telling: Telling, log: MemoryUsage) -> None:
    told = asyncio.Event()
    await telling.store.add(webhook())
    ended(log, telling, "req_1")

    class Once(Dispatcher):
        async def tell(self, events: object, *, but: str = "") -> int:
            if not told.is_set():
                told.set()
                raise RuntimeError("broken")
            return await super().tell(events, but=but)  # type: ignore[arg-type]

    running = asyncio.create_task(
        Forwarder(log.reader("webhooks"), Once(telling.store, telling.bus, telling.clock)).run(every_s=0.001)
    )
    async with asyncio.timeout(5):
        while not await telling.bus.depth():  # noqa: ASYNC110 -- the bus tells nobody
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_known_of_an_orgs_webhooks_is_two_seconds_old_at_most(telling: Telling) -> None:
    await telling.tell("req_1")
    await telling.store.add(webhook())
    telling.clock.advance(2)
    await telling.tell("req_2")
    assert len(await taken(telling)) == 1


async def test_a_publish_whose_answer_is_lost_is_repeated_under_the_same_id(telling: Telling) -> None:
    await telling.store.add(webhook())
    published: list[str] = []

    class Losing(type(telling.bus)):  # type: ignore[misc]
        async def publish(self, envelope: Envelope) -> Published:
            answer = await telling.bus.publish(envelope)
            published.append(envelope.id)
            if len(published) == 1:
                raise Unavailable("the answer was lost")
            return answer

    losing = Losing(telling.results, telling.clock)
    dispatcher = Dispatcher(telling.store, losing, telling.clock)
    with pytest.raises(Unavailable):
        await dispatcher.tell([telling.ended()])
    assert await dispatcher.tell([telling.ended()]) == 0
    assert len(set(published)) == 1
    assert len(await telling.bus.receive("w", [BOUNDS], 10)) == 1
