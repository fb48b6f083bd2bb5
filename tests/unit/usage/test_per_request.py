"""What the model takes for granted of the code, held to the code. Documents and messages: tests/contract."""

from __future__ import annotations

import msgspec

from apx.backends.gcp import blobs, firestore, objects
from apx.catalog.model import DAY_S
from apx.requests import model
from apx.requests.model import Envelope, Result
from apx.usage import per_request as per
from apx.usage.quantities import USAGE_BYTES
from services.worker.settings import WorkerSettings

RELEASE = "sha256:" + "a" * 64
REQUEST_ID = "req_6QGiCULrK7_CrS-0kp0ndXMtZHtrNe0g3-dSgp6yk443HMVhznfdD_lFhdP1"
HEADERS = (
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("user-agent", "python-httpx/0.28.1"),
    ("x-apx-org", "acme"),
    ("x-request-id", "7f9c24e8-3b1a-4c5d-9e0f-1a2b3c4d5e6f"),
)


def envelope(body: bytes) -> Envelope:
    return Envelope(
        id=REQUEST_ID,
        org="acme",
        key_id="key_0123456789abcdef",
        product="orders",
        release=RELEASE,
        lane="customer-4711",
        method="POST",
        path="/v1/orders",
        query="",
        headers=HEADERS,
        body=body,
        accepted_ms=1_764_000_000_000,
        deadline_ms=1_764_003_600_000,
        timeout_s=30.0,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        fingerprint="f" * 64,
        idempotency="i" * 64,
    )


def result(body: bytes) -> Result:
    return Result(
        id=REQUEST_ID,
        org="acme",
        product="orders",
        release=RELEASE,
        state="succeeded",
        accepted_ms=1_764_000_000_000,
        finished_ms=1_764_000_001_000,
        status=200,
        headers=(("content-type", "application/json"), ("date", "Tue, 25 Nov 2026 12:00:00 GMT")),
        body=body,
        attempts=1,
    )


def test_a_message_beside_its_body_is_about_as_large_as_assumed() -> None:
    pubsub_itself = 20 + 16 + len("orders:acme:customer-4711")  # time, id, ordering key
    measured = len(msgspec.msgpack.encode(envelope(b""))) + pubsub_itself
    assert 0.75 < measured / per.ENVELOPE_BYTES < 1.25


def test_a_result_beside_its_body_is_about_as_large_as_assumed() -> None:
    named = len(f"results/{REQUEST_ID}") + 16 + len("record") + 1 + len("expires_at") + 1 + 8 + 32
    measured = len(msgspec.msgpack.encode(result(b""))) + named
    assert 0.75 < measured / per.RESULT_BYTES < 1.25


def test_sizes_of_bodies_and_of_calls_are_the_codes() -> None:
    assert per.INLINE_BODY_BYTES == model.INLINE_BODY_BYTES
    assert per.UPLOAD_BYTES == objects.CHUNK_BYTES
    assert per.DOWNLOAD_BYTES == blobs.PIECE_BYTES


def test_a_process_that_follows_polls_as_often_as_assumed() -> None:
    assert per.POLLS_PER_DAY == DAY_S / firestore.POLL_EVERY_S


def test_a_worker_holds_as_many_as_assumed() -> None:
    assert WorkerSettings.model_fields["concurrency"].default == per.DELIVERIES_PER_WORKER


def test_a_usage_event_is_about_as_large_as_assumed() -> None:
    event = {
        "at": 1_764_000_000_000_000,
        "request": REQUEST_ID,
        "org": "acme",
        "product": "orders",
        "plan": "gold",
        "release": RELEASE,
        "outcome": "succeeded",
        "cost": 1.0,
        "request_bytes": 1000,
        "response_bytes": 1000,
    }
    assert 0.75 < (len(msgspec.json.encode(event)) + 36) / USAGE_BYTES < 1.25
