from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apx.errors import Misconfigured
from apx.requests.execution_call import AddressBlocked, BackendFailure, CallTimedOut, ConnectFailed, ResponseTooLarge
from apx.rollout.counts import Tally
from apx.webhooks.signing import Vault, signature
from apx.webhooks.terms import ATTEMPTS, BOUNDS, WAITS_S, Deliveries, DeliveryRules
from tests.unit.webhooks.examples import SECRET, VAULT, Telling, webhook
from tests.unit.worker.scripted import Answer


async def started(*script: Answer | BackendFailure, **changes: Any) -> Telling:
    telling = Telling(*script)
    await telling.store.add(webhook(**changes))
    await telling.tell("req_1")
    return telling


async def test_a_delivery_is_a_signed_post_of_the_event() -> None:
    telling = await started()
    await telling.attempt()
    [request] = telling.client.requests
    headers = dict(request.headers)
    expected = signature(SECRET, headers["webhook-id"], int(telling.clock.time()), request.body)
    assert (request.method, request.url) == ("POST", "https://hooks.example/apx")
    assert headers["webhook-signature"] == expected
    assert headers["webhook-id"] == telling.ended().message_id("wh_1")
    assert msgspec.json.decode(request.body)["data"]["request"] == "req_1"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "APX-Webhooks/1"


@pytest.mark.parametrize("url", ["https://hooks.example", "https://hooks.example/a/", "https://hooks.example:8443/a"])
async def test_the_address_is_called_to_the_letter(url: str) -> None:
    telling = await started(url=url)
    await telling.attempt()
    assert telling.client.requests[0].url == url


async def test_a_call_is_bounded_and_guarded() -> None:
    telling = await started()
    await telling.attempt()
    [request] = telling.client.requests
    assert (request.timeout_s, request.max_response_bytes, request.allow_private) == (15.0, 65_536, False)


@pytest.mark.parametrize(
    ("url", "loopback", "private"),
    [
        ("http://127.0.0.1:9100/x", True, True),
        ("http://127.0.0.1:9100/x", False, False),
        ("https://hooks.example/x", True, False),
        ("https://localhost/x", True, False),
    ],
)
async def test_only_a_loopback_address_is_let_through_and_only_by_the_setting(
    url: str,
    loopback: bool,  # noqa: FBT001 -- a case
    private: bool,  # noqa: FBT001 -- a case
) -> None:
    telling = await started(url=url)
    deliveries = Deliveries(telling.store, VAULT, telling.clock, loopback=loopback)
    [delivery] = await telling.bus.receive("w", [BOUNDS], 1)
    assert (await deliveries.terms(delivery.envelope)).spec.backend.allow_private is private


@pytest.mark.parametrize(
    "failure",
    [
        Answer(500),
        Answer(404),
        Answer(400),
        Answer(302, (("location", "http://127.0.0.1/"),)),
        Answer(304),
        ConnectFailed("x"),
        CallTimedOut("x"),
        ResponseTooLarge("x"),
        AddressBlocked("x"),
    ],
)
async def test_whatever_is_no_2xx_is_tried_again_under_the_same_id_and_signed_anew(
    failure: Answer | BackendFailure,
) -> None:
    telling = await started(failure, Answer(200))
    await telling.attempt()
    telling.clock.advance(WAITS_S[0])
    [carried] = await telling.attempt()
    first, second = telling.sent()
    assert carried.settlement.result is not None
    assert carried.settlement.result.state == "succeeded"
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == WAITS_S[0]
    assert first["webhook-signature"] != second["webhook-signature"]


async def test_a_receiver_that_is_down_for_three_days_costs_ten_tries_and_a_dead_letter() -> None:
    telling = await started(ConnectFailed("down"))
    [ended] = await telling.until_idle()
    assert len(telling.client.requests) == ATTEMPTS == 10
    assert telling.clock.monotonic() <= 3 * 86_400
    assert ended.dead_letter is not None
    assert len(await telling.bus.dead_letters("apx-webhooks")) == 1


async def test_gone_is_believed_at_once() -> None:
    telling = await started(Answer(410))
    [carried] = await telling.attempt()
    assert carried.settlement.dead_letter is not None
    assert carried.settlement.dead_letter.code == "webhook-gone"


@pytest.mark.parametrize(("asked", "waits"), [("900", 900.0), ("1", 4.0), ("999999999", 75_600.0), ("nonsense", 4.0)])
def test_a_receiver_may_ask_for_a_longer_wait(asked: str, waits: float) -> None:
    assert DeliveryRules().wait_s(1, 1.0, (("retry-after", asked),), now=0.0) == waits


def test_ten_tries_fit_into_three_days_and_their_waits_grow() -> None:
    assert sum(WAITS_S) < 3 * 86_400 - 10 * 15
    assert list(WAITS_S) == sorted(WAITS_S)
    for attempt in range(1, ATTEMPTS):
        least, most = (DeliveryRules().wait_s(attempt, chance, now=0.0, headers=()) for chance in (1.0, 0.0))
        assert (least, most) == pytest.approx((0.8 * WAITS_S[attempt - 1], WAITS_S[attempt - 1]))


async def test_what_waits_for_a_webhook_that_is_disabled_is_put_with_the_dead_letters_uncalled() -> None:
    telling = await started()
    await telling.manage.disable("wh_1", "by hand")
    [carried] = await telling.attempt()
    assert carried.settlement.dead_letter is not None
    assert carried.settlement.dead_letter.code == "webhook-disabled"
    assert telling.client.requests == []


async def test_a_webhook_that_is_enabled_again_is_known_to_be_so_at_once() -> None:
    telling = await started()
    await telling.manage.disable("wh_1", "by hand")
    await telling.attempt()
    await telling.manage.replay("wh_1")
    await telling.attempt()
    assert len(telling.client.requests) == 1


async def test_what_waits_for_a_webhook_that_was_deleted_ends() -> None:
    telling = await started()
    await telling.manage.delete("wh_1")
    [carried] = await telling.attempt()
    assert carried.settlement.result is not None
    assert (carried.settlement.result.state, carried.settlement.dead_letter) == ("cancelled", None)
    assert telling.client.requests == []


async def test_what_was_behind_another_for_three_days_is_kept_for_a_replay() -> None:
    telling = await started(ordered=True)
    telling.clock.advance(3 * 86_400)
    [carried] = await telling.attempt()
    assert carried.settlement.result is not None
    assert (carried.settlement.result.state, carried.settlement.dead_letter is not None) == ("expired", True)


async def test_both_secrets_sign_for_the_grace_and_the_new_one_alone_after_it() -> None:
    telling = await started()
    made = await telling.manage.rotate("wh_1", grace_s=60)
    await telling.attempt()
    telling.clock.advance(61)
    await telling.tell("req_2")
    await telling.attempt()
    during, after = telling.sent()
    body, sent_s = telling.client.requests[0].body, int(during["webhook-timestamp"])
    both = {signature(secret, during["webhook-id"], sent_s, body) for secret in (SECRET, made.secret)}
    assert set(during["webhook-signature"].split(" ")) == both
    assert len(after["webhook-signature"].split(" ")) == 1


async def test_a_secret_sealed_under_another_key_is_said_so_and_nothing_is_sent() -> None:
    telling = await started()
    other = Deliveries(telling.store, Vault(b"o" * 32), telling.clock)
    [delivery] = await telling.bus.receive("w", [BOUNDS], 1)
    with pytest.raises(Misconfigured):
        await other.terms(delivery.envelope)


async def test_a_receivers_words_are_not_kept() -> None:
    telling = await started(Answer(200, (("x-canary", "1"),), (b"canary",)))
    [carried] = await telling.attempt()
    assert carried.settlement.result is not None
    assert b"canary" not in msgspec.msgpack.encode(carried.settlement.result)


async def test_a_receiver_that_is_well_costs_a_note_each_ten_minutes_and_the_first_at_once() -> None:
    telling = await started()
    begin_ms = telling.now_ms
    noted = []
    for number in range(25):
        await telling.tell(f"req_{number + 1}")
        await telling.attempt()
        noted.append(await telling.store.last_delivered_ms("wh_1"))
        telling.clock.advance(60)
    assert noted[0] == begin_ms
    assert sorted({at_ms - begin_ms for at_ms in noted}) == [0, 600_000, 1_200_000]


async def test_deliveries_are_no_usage_and_count_for_no_judge() -> None:
    telling = await started(Answer(500), Answer(200))
    await telling.until_idle()
    assert await telling.bus.usage.waiting(10) is None
    assert telling.tally.take() == Tally().take()


async def test_one_dead_endpoint_holds_up_no_other() -> None:
    """A product's budget of retries would be used up by the dead one's."""
    telling = Telling(ConnectFailed("down"))
    await telling.store.add(webhook("wh_1"))
    await telling.tell(*(f"req_{number}" for number in range(100)))
    for _ in range(30):
        await telling.attempt()
        telling.clock.advance(WAITS_S[0])
    await telling.store.add(webhook("wh_2", org="globex"))
    await telling.dispatcher.tell([telling.ended("req_other", org="globex")])
    [first] = [one for one in await telling.attempt() if one.settlement.delivery.envelope.org == "wh_2"]
    assert first.called


async def test_a_slow_receiver_holds_no_more_than_its_share() -> None:
    telling = Telling()
    await telling.store.add(webhook("wh_1"))
    await telling.store.add(webhook("wh_2", org="globex"))
    await telling.tell(*(f"req_{number}" for number in range(50)))
    await telling.dispatcher.tell([telling.ended("req_other", org="globex")])

    held = [one.envelope.org for one in await telling.bus.receive("w", [BOUNDS], 100)]
    assert (held.count("wh_1"), held.count("wh_2")) == (4, 1)
