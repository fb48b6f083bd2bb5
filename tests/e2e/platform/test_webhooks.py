"""Webhooks through every real process: what a receiver on this machine is sent, and how it is signed."""

from __future__ import annotations

import threading
from base64 import b64decode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from apx.local.platform import Platform
from tests.e2e.platform.client import Client, eventually
from tests.e2e.platform.receiver import Received, Receiver

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("platform", ["local", "gcp"], indirect=True),
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture
def webhook(control: httpx.Client, receiver: Receiver) -> Iterator[dict[str, Any]]:
    made = control.post("/webhooks", json={"org": "acme", "url": receiver.url, "ordered": True})
    assert made.status_code == 201, made.text
    yield made.json()
    control.delete(f"/webhooks/{made.json()['id']}")


def about(receiver: Receiver, request: str) -> list[Received]:
    return [one for one in receiver.attempts if one.event["data"].get("request") == request]


def finished_order(acme: Client, receiver: Receiver) -> str:
    """Finish orders until the receiver is told of one: what is known of an org's webhooks may be two seconds old."""
    for _ in range(20):
        request = str(acme.finished(acme.order().headers["location"])["id"])
        if eventually(lambda request=request: bool(about(receiver, request)), within_s=4):  # type: ignore[misc]
            return request
    raise AssertionError("the receiver was told of nothing")


def test_a_receiver_is_told_that_a_request_is_done_in_signed_words(
    acme: Client, receiver: Receiver, webhook: dict[str, Any]
) -> None:
    request = finished_order(acme, receiver)
    [told] = about(receiver, request)
    assert told.signed_by(webhook["secret"])
    assert told.event["type"] == "request.succeeded"
    data = told.event["data"]
    assert (data["org"], data["product"], data["state"]) == ("acme", "orders", "succeeded")
    assert acme.get(data["location"]).json()["done"]


def test_an_attempt_that_failed_is_repeated_under_the_same_id_and_what_came_after_waits_behind_it(
    acme: Client, receiver: Receiver, webhook: dict[str, Any]
) -> None:
    finished_order(acme, receiver)
    receiver.answer = lambda _: 500 if not [one for one in receiver.attempts if one.status == 500] else 204
    first, second = (str(acme.finished(acme.order().headers["location"])["id"]) for _ in range(2))
    assert eventually(lambda: len(about(receiver, second)) == 1, within_s=30)
    failed, taken = about(receiver, first)
    assert (failed.status, taken.status) == (500, 204)
    assert failed.id == taken.id
    assert taken.signed_by(webhook["secret"])
    told = [one.event["data"].get("request") for one in receiver.taken]
    assert told.index(first) < told.index(second)


def test_a_ping_is_sent_at_once(control: httpx.Client, receiver: Receiver, webhook: dict[str, Any]) -> None:
    pinged = control.post(f"/webhooks/{webhook['id']}/ping")
    assert pinged.status_code == 202
    assert eventually(lambda: pinged.json()["webhook_id"] in {one.id for one in receiver.taken})


@pytest.mark.parametrize("url", ["https://169.254.169.254/x", "http://hooks.example/x", "https://10.0.0.1/x"])
def test_an_address_that_is_not_public_is_refused(control: httpx.Client, url: str) -> None:
    refused = control.post("/webhooks", json={"org": "acme", "url": url})
    assert (refused.status_code, refused.json()["code"]) == (422, "unsupported")


def test_a_slow_receiver_holds_up_no_other(control: httpx.Client, receiver: Receiver, webhook: dict[str, Any]) -> None:
    def ping(webhook_id: str) -> str:
        return str(control.post(f"/webhooks/{webhook_id}/ping").json()["webhook_id"])

    released = threading.Event()

    def answer_late(_: dict[str, Any]) -> int:
        released.wait(14)
        return 204

    with Receiver() as slow:
        slow.answer = answer_late
        other = control.post("/webhooks", json={"org": "globex", "url": slow.url}).json()["id"]
        try:
            for _ in range(100):
                ping(other)
            pinged = [ping(webhook["id"]) for _ in range(20)]
            assert eventually(lambda: {*pinged} <= {one.id for one in receiver.taken}, within_s=8)
            assert slow.taken == []
        finally:
            released.set()
            control.delete(f"/webhooks/{other}")


def test_a_secret_is_in_no_log_and_in_no_store_in_clear(
    platform: Platform, acme: Client, receiver: Receiver, control: httpx.Client, webhook: dict[str, Any]
) -> None:
    receiver.answer = lambda event: 410 if event["type"] == "webhook.ping" else 204
    finished_order(acme, receiver)
    control.post(f"/webhooks/{webhook['id']}/ping")
    letters = "/dead-letters?product=apx-webhooks"
    assert eventually(lambda: webhook["id"] in control.get(letters).text)
    secret = webhook["secret"].removeprefix("whsec_")
    written = [file for file in platform.settings.home.rglob("*") if file.is_file() and not file.is_symlink()]
    assert any(file.suffix == ".log" for file in written)
    for form in (secret.encode(), b64decode(secret), b64decode(secret).hex().encode(), quote(secret, safe="").encode()):
        assert [file for file in written if form in file.read_bytes()] == []


def test_a_receiver_that_says_it_has_gone_is_disabled_and_a_replay_sends_what_it_refused(
    receiver: Receiver, control: httpx.Client, webhook: dict[str, Any]
) -> None:
    path = f"/webhooks/{webhook['id']}"
    receiver.answer = lambda _: 410
    pinged = control.post(f"{path}/ping").json()["webhook_id"]
    assert eventually(lambda: control.get(path).json()["state"] == "disabled", within_s=60)
    receiver.answer = lambda _: 204
    assert control.post(f"{path}/replay", json={}).json() == {"queued": 1}
    assert eventually(lambda: [one.id for one in receiver.taken] == [pinged])
    actions = [entry["action"] for entry in control.get("/audit?limit=20").json() if webhook["id"] in entry["subject"]]
    assert actions[:3] == ["webhook-enable", "webhook-replay", "webhook-disable"]
