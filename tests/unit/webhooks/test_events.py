from __future__ import annotations

import msgspec
import pytest

from apx.webhooks.events import finished, timestamp
from apx.webhooks.forward import delivery
from tests.unit.webhooks.examples import usage_event, webhook


def test_an_event_tells_what_ended_and_where_its_result_is() -> None:
    told = msgspec.json.decode(finished(usage_event()).body())
    assert told == {
        "type": "request.succeeded",
        "timestamp": "2023-11-14T22:13:21.500Z",
        "data": {
            "request": "req_1",
            "org": "acme",
            "product": "orders",
            "state": "succeeded",
            "status_class": "2xx",
            "attempts": 1,
            "accepted_at": "2023-11-14T22:13:20.000Z",
            "finished_at": "2023-11-14T22:13:21.500Z",
            "location": "/v1/requests/req_1",
        },
    }


def test_the_key_that_sent_it_is_not_told() -> None:
    assert b"canary" not in finished(usage_event()).body()


@pytest.mark.parametrize("state", ["succeeded", "failed", "expired", "cancelled"])
def test_each_terminal_state_has_its_type(state: str) -> None:
    assert finished(usage_event(state=state)).type == f"request.{state}"


def test_the_same_event_has_the_same_id_for_a_webhook_and_another_for_another() -> None:
    one, same, other = finished(usage_event()), finished(usage_event()), finished(usage_event("req_2"))
    assert one.message_id("wh_1") == same.message_id("wh_1")
    assert len({one.message_id("wh_1"), one.message_id("wh_2"), other.message_id("wh_1")}) == 3


def test_a_delivery_is_the_same_request_each_time_and_holds_no_secret() -> None:
    one = delivery(finished(usage_event()), webhook())
    assert one == delivery(finished(usage_event()), webhook())
    assert one.headers == (("content-type", "application/json"), ("webhook-id", one.id))
    assert (one.product, one.org, one.deadline_ms - one.accepted_ms) == ("apx-webhooks", "wh_1", 3 * 86_400_000)


def test_only_deliveries_of_an_ordered_webhook_share_a_lane() -> None:
    events = [finished(usage_event(request)) for request in ("req_1", "req_2")]
    assert len({delivery(event, webhook(ordered=True)).lane for event in events}) == 1
    assert len({delivery(event, webhook()).lane for event in events}) == 2


def test_times_are_written_to_the_millisecond() -> None:
    assert timestamp(1) == "1970-01-01T00:00:00.001Z"


def test_a_webhook_wants_what_it_asked_for() -> None:
    some = webhook(events=("request.failed",), products=("orders",))
    assert some.wants("request.failed", "orders")
    assert not some.wants("request.succeeded", "orders")
    assert not some.wants("request.failed", "exports")
    assert not some.wants("webhook.disabled", "")
    assert webhook().wants("anything.later", "exports")
    assert webhook(products=("orders",)).wants("webhook.disabled", "")
