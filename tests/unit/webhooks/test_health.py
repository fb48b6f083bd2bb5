"""Dead receivers: disabled, told of, and sent again what they missed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apx.errors import Conflict, Unavailable
from apx.requests.execution_call import BackendFailure, ConnectFailed
from apx.requests.model import DeadLetter, Envelope
from apx.requests.ports import Published
from apx.requests.receipt import Receipts
from apx.requests.replay import replay_letters
from apx.webhooks.health import IS_DEAD, IS_GONE
from apx.webhooks.manage import Change
from apx.webhooks.replay import replay_deliveries
from apx.webhooks.terms import BOUNDS, TIMEOUT_S
from tests.unit.webhooks.examples import Telling, webhook
from tests.unit.worker.scripted import Answer


async def given_up(*script: Answer | BackendFailure, requests: int = 1, **changes: Any) -> Telling:
    """Let every try of some deliveries fail."""
    telling = Telling(*(script or (ConnectFailed("down"),)))
    await telling.store.add(webhook(**changes))
    await telling.tell(*(f"req_{number}" for number in range(requests)))
    await telling.until_idle()
    return telling


async def state_of(telling: Telling, webhook_id: str = "wh_1") -> tuple[str, str]:
    found = await telling.store.find(webhook_id)
    assert found is not None
    return found.state, found.reason


async def test_a_receiver_that_took_nothing_for_three_days_is_disabled() -> None:
    telling = await given_up()
    assert await telling.health.look() == ["wh_1"]
    assert await state_of(telling) == ("disabled", IS_DEAD)
    assert await telling.health.look() == []


async def test_what_was_looked_at_is_not_read_again_until_something_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    telling = await given_up(Answer(410))
    await telling.health.look()
    asked: list[int] = []
    dead_letters = telling.bus.dead_letters

    async def counting(product: str | None = None, limit: int = 100) -> list[DeadLetter]:
        asked.append(limit)
        return await dead_letters(product, limit)

    monkeypatch.setattr(telling.bus, "dead_letters", counting)
    assert await telling.health.look() == []
    assert asked == [1]
    await telling.store.add(webhook("wh_2", org="globex"))
    await telling.dispatcher.tell([telling.ended("req_other", org="globex")])
    await telling.until_idle()
    assert await telling.health.look() == ["wh_2"]


async def test_a_receiver_that_has_gone_is_disabled_at_once() -> None:
    telling = await given_up(Answer(410))
    assert telling.clock.monotonic() == 0
    await telling.health.look()
    assert await state_of(telling) == ("disabled", IS_GONE)


async def test_one_event_that_a_receiver_cannot_digest_disables_nothing() -> None:
    telling = Telling(*[Answer(500)] * 9, Answer(204), Answer(500))
    await telling.store.add(webhook())
    await telling.tell("req_poison")
    for _ in range(9):
        await telling.attempt()
        telling.clock.advance(75_600)
        if telling.clock.monotonic() > 2 * 86_400:
            break
    await telling.store.delivered("wh_1", telling.now_ms)
    await telling.until_idle()
    assert await telling.bus.dead_letters("apx-webhooks")
    assert await telling.health.look() == []
    assert (await state_of(telling))[0] == "enabled"


async def test_what_was_given_up_before_it_was_enabled_again_counts_no_more() -> None:
    telling = await given_up()
    await telling.health.look()
    telling.clock.advance(1)
    await telling.manage.enable("wh_1")
    assert await telling.health.look() == []


async def test_what_another_address_did_not_take_says_nothing_of_the_new_one() -> None:
    telling = await given_up(Answer(410))
    telling.clock.advance(1.0)
    await telling.manage.change("wh_1", Change(url="https://other.example/x"))
    assert await telling.health.look() == []
    assert await state_of(telling) == ("enabled", "")


async def test_what_was_under_way_to_an_address_when_it_was_changed_says_nothing_of_the_new_one() -> None:
    telling = Telling(Answer(410))
    await telling.store.add(webhook())
    await telling.tell("req_1")
    under_way = await telling.bus.receive("w", [BOUNDS], 1)
    telling.clock.advance(1)
    await telling.manage.change("wh_1", Change(url="https://other.example/x"))
    telling.clock.advance(TIMEOUT_S - 2)
    await telling.end(under_way)
    assert await telling.health.look() == []

    await telling.tell("req_2")  # which the new one is asked about
    await telling.until_idle()
    assert await telling.health.look() == ["wh_1"]


async def test_what_was_queued_before_a_change_and_sent_after_it_says_all() -> None:
    telling = Telling(Answer(410))
    await telling.store.add(webhook())
    await telling.tell("req_1")
    telling.clock.advance(1)
    await telling.manage.change("wh_1", Change(url="https://other.example/x"))
    telling.clock.advance(TIMEOUT_S)
    await telling.until_idle()
    assert await telling.health.look() == ["wh_1"]


async def test_what_was_put_away_as_it_was_disabled_says_nothing_of_the_receiver() -> None:
    telling = Telling()
    await telling.store.add(webhook())
    await telling.tell("req_1")
    await telling.manage.disable("wh_1", "by hand")
    await telling.attempt()
    await telling.manage.enable("wh_1")
    assert await telling.health.look() == []


async def test_the_orgs_other_webhooks_are_told_and_it_itself_is_not() -> None:
    telling = await given_up(Answer(410))
    await telling.store.add(webhook("wh_2"))
    await telling.store.add(webhook("wh_3", org="globex"))
    telling.clock.advance(2)
    await telling.health.look()
    assert {org: n for (_, org), n in (await telling.bus.depth()).items() if n} == {"wh_2": 1}
    await telling.attempt()
    told = msgspec.json.decode(telling.client.requests[-1].body)
    assert told["type"] == "webhook.disabled"
    assert told["data"] == {"webhook": "wh_1", "org": "acme", "reason": IS_GONE}


async def test_the_notice_is_one_however_many_look() -> None:
    telling = await given_up(Answer(410))
    await telling.store.add(webhook("wh_2"))
    telling.clock.advance(2)
    stale = await telling.store.find("wh_1")
    assert stale is not None
    assert await telling.health.disable(stale, IS_GONE)
    assert not await telling.health.disable(stale, IS_GONE)
    assert sum((await telling.bus.depth()).values()) == 1


async def test_a_replay_enables_it_and_sends_what_it_missed_under_the_same_ids_in_the_same_order() -> None:
    telling = await given_up(ConnectFailed("down"), requests=3, ordered=True)
    await telling.health.look()
    await telling.until_idle()
    expected = [telling.ended(f"req_{number}").message_id("wh_1") for number in range(3)]
    telling.client._script = [Answer(204)]  # noqa: SLF001 -- it recovers
    seen = len(telling.client.requests)
    assert await telling.manage.replay("wh_1") == 3
    await telling.until_idle()
    assert await state_of(telling) == ("enabled", "")
    assert [headers["webhook-id"] for headers in telling.sent()[seen:]] == expected
    assert await telling.bus.dead_letters("apx-webhooks") == []


async def test_nothing_is_lost_over_three_days_of_a_dead_receiver() -> None:
    telling = Telling(ConnectFailed("down"))
    await telling.store.add(webhook())
    expected = set()
    for hour in range(80):
        await telling.tell(f"req_{hour}")
        if (await state_of(telling))[0] == "enabled":
            expected.add(telling.ended(f"req_{hour}").message_id("wh_1"))
        for _ in range(6):
            await telling.attempt()
            telling.clock.advance(600)
        await telling.health.look()
    assert (await state_of(telling))[0] == "disabled"
    await telling.until_idle()
    seen = len(telling.client.requests)
    telling.client._script = [Answer(204)]  # noqa: SLF001 -- it recovers
    await telling.manage.replay("wh_1")
    await telling.until_idle()
    assert {headers["webhook-id"] for headers in telling.sent()[seen:]} >= expected


async def test_a_replay_that_dies_half_way_may_be_repeated() -> None:
    telling = await given_up(Answer(410), requests=3)
    telling.client._script = [Answer(204)]  # noqa: SLF001 -- it recovers
    seen = len(telling.client.requests)
    found = await telling.store.find("wh_1")
    assert found is not None

    class Dying(type(telling.bus)):  # type: ignore[misc]
        async def publish(self, envelope: Envelope) -> Published:
            return await telling.bus.publish(envelope)

        async def dead_letters(self, product: str | None = None, limit: int = 100, *, org: str | None = None) -> object:
            return await telling.bus.dead_letters(product, limit, org=org)

        async def forget_dead_letter(self, letter_id: str) -> bool:
            raise Unavailable(f"killed before {letter_id} is forgotten")

    with pytest.raises(Unavailable):
        await replay_deliveries(Dying(telling.results, telling.clock), found, telling.clock)
    assert await replay_deliveries(telling.bus, found, telling.clock) == 3
    await telling.until_idle()
    ids = [headers["webhook-id"] for headers in telling.sent()[seen:]]
    assert len(ids) == len(set(ids)) == 3


async def test_a_replay_may_be_of_what_is_younger_than_a_moment() -> None:
    telling = await given_up(Answer(410))
    telling.clock.advance(60)
    since_ms = telling.now_ms
    await telling.tell("req_later")
    await telling.until_idle()
    assert await telling.manage.replay("wh_1", since_ms=since_ms) == 1
    assert len(await telling.bus.dead_letters("apx-webhooks")) == 1


async def test_what_was_given_up_of_a_webhook_goes_with_it() -> None:
    telling = await given_up(Answer(410), requests=3)
    await telling.manage.delete("wh_1")
    assert await telling.bus.dead_letters("apx-webhooks") == []


async def test_a_replay_takes_up_no_other_webhooks_letters() -> None:
    telling = await given_up(Answer(410))
    await telling.store.add(webhook("wh_2", org="globex"))
    assert await telling.manage.replay("wh_2") == 0


async def test_what_is_replayed_and_fails_again_can_be_replayed_again() -> None:
    telling = await given_up(Answer(410))
    for _ in range(3):
        assert await telling.manage.replay("wh_1") == 1
        await telling.until_idle()
    assert len({headers["webhook-id"] for headers in telling.sent()}) == 1
    assert len(telling.sent()) == 4


async def test_what_is_replayed_as_any_dead_letter_has_the_same_webhook_id_too() -> None:
    telling = await given_up(Answer(410))
    telling.client._script = [Answer(204)]  # noqa: SLF001 -- it recovers
    [letter] = await telling.bus.dead_letters("apx-webhooks")
    receipts = Receipts([b"r" * 32], "us")
    await replay_letters(telling.bus, [letter.id], receipts, telling.clock, lambda size: b"x" * size)
    await telling.until_idle()
    first, again = telling.sent()
    assert first["webhook-id"] == again["webhook-id"]


async def test_a_replay_that_does_not_fit_keeps_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    telling = await given_up(Answer(410), requests=3)

    async def full(envelope: Envelope) -> Published:
        return Published("backlog", envelope.id)

    monkeypatch.setattr(telling.bus, "publish", full)
    with pytest.raises(Conflict, match="3 of 3 are kept"):
        await telling.manage.replay("wh_1")
    assert len(await telling.bus.dead_letters("apx-webhooks")) == 3


async def test_a_deletion_during_which_the_bus_went_away_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    telling = await given_up(requests=3)
    forget = telling.bus.forget_dead_letter
    forgotten: list[str] = []

    async def away(letter_id: str) -> bool:
        if forgotten:
            raise Unavailable("away")
        forgotten.append(letter_id)
        return await forget(letter_id)

    monkeypatch.setattr(telling.bus, "forget_dead_letter", away)
    with pytest.raises(Unavailable):
        await telling.manage.delete("wh_1")
    monkeypatch.undo()
    await telling.manage.delete("wh_1")
    assert await telling.store.find("wh_1") is None
    assert await telling.bus.dead_letters("apx-webhooks", 10) == []
