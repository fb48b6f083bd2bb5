from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from apx.catalog.model import ProductSpec, Retry
from apx.clock import ManualClock
from apx.errors import Unavailable
from apx.requests import execution
from apx.requests.execution import Carried, Execution
from apx.requests.execution_call import (
    AddressBlocked,
    BackendFailure,
    CallTimedOut,
    ConnectFailed,
    ConnectionLost,
    ProtocolBroken,
    ResponseTooLarge,
)
from apx.requests.execution_retry import backoff_s
from apx.requests.model import Delivery, Envelope, Result
from apx.rollout.counts import Tally
from tests.unit.worker.lanes import Lanes
from tests.unit.worker.scripted import Answer, ScriptedClient
from tests.unit.worker.world import MemoryBlobs, delivery_of, envelope_for, spec_for

CLOCK = ManualClock()
NOW_MS = int(CLOCK.time() * 1000)
RETRY = Retry(attempts=4, initial_backoff_s=1.0, max_backoff_s=8.0)


def envelope(**fields: Any) -> Envelope:
    return envelope_for(**({"accepted_ms": NOW_MS - 1000, "deadline_ms": NOW_MS + 60_000} | fields))


async def carried(
    client: ScriptedClient,
    delivery: Delivery | None = None,
    spec: ProductSpec | None = None,
    *,
    lanes: Lanes | None = None,
    blobs: MemoryBlobs | None = None,
) -> Carried:
    executing = Execution(
        client, lanes or Lanes(), blobs or MemoryBlobs(), clock=CLOCK, chance=lambda: 0.5, tally=Tally()
    )
    return await executing.carry_out(
        delivery or delivery_of(envelope()), spec or spec_for("http://backend.example/api", retry=RETRY)
    )


def result_of(done: Carried) -> Result:
    assert done.settlement.result is not None
    return done.settlement.result


@pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 304])
async def test_an_answer_below_400_is_a_success(status: int) -> None:
    result = result_of(await carried(ScriptedClient(Answer(status, (("etag", "1"),), (b"bo", b"dy")))))
    assert (result.state, result.status, result.error) == ("succeeded", status, None)
    assert (result.headers, result.body, result.body_bytes) == ((("etag", "1"),), b"body", 4)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 418, 500, 501])
async def test_an_answer_that_is_not_to_be_retried_is_final(status: int) -> None:
    done = await carried(ScriptedClient(Answer(status, (), (b"why",))))
    result = result_of(done)
    assert result.error is not None
    assert (result.state, result.status, result.body) == ("failed", status, b"why")
    assert result.error.code == "backend-status"
    assert done.settlement.dead_letter is None


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_answer_that_is_to_be_retried_waits(status: int) -> None:
    done = await carried(ScriptedClient(Answer(status)))
    assert done.settlement.result is None
    assert (done.settlement.retry_after_s, done.cause) == (0.5, str(status))


@pytest.mark.parametrize("failure", [ConnectFailed("x"), ConnectionLost("x"), CallTimedOut("x")])
async def test_a_failure_that_may_pass_waits(failure: BackendFailure) -> None:
    done = await carried(ScriptedClient(failure))
    assert done.settlement.retry_after_s == 0.5
    assert done.cause == failure.retry_on


@pytest.mark.parametrize("failure", [ResponseTooLarge("x"), AddressBlocked("x"), ProtocolBroken("x")])
async def test_a_failure_that_stays_is_final(failure: BackendFailure) -> None:
    result = result_of(await carried(ScriptedClient(failure)))
    assert result.error is not None
    assert (result.state, result.error.code, result.error.detail) == ("failed", failure.code, failure.public)


async def test_only_what_the_product_names_is_retried() -> None:
    spec = spec_for("http://backend.example", retry=Retry(on=("500",)))
    assert (await carried(ScriptedClient(Answer(500)), spec=spec)).settlement.retry_after_s is not None
    assert result_of(await carried(ScriptedClient(Answer(503)), spec=spec)).state == "failed"
    assert result_of(await carried(ScriptedClient(ConnectFailed("x")), spec=spec)).state == "failed"


async def test_the_last_attempt_ends_the_request_and_buries_it() -> None:
    done = await carried(ScriptedClient(Answer(503, (), (b"busy",))), delivery_of(envelope(), attempt=4))
    result = result_of(done)
    assert (result.state, result.attempts, result.status, result.body) == ("failed", 4, 503, b"busy")
    assert done.settlement.dead_letter == result.error


async def test_a_wait_that_would_outlast_the_deadline_is_not_begun() -> None:
    done = await carried(ScriptedClient(Answer(503)), delivery_of(envelope(deadline_ms=NOW_MS + 400)))
    assert result_of(done).state == "failed"
    assert done.settlement.dead_letter is not None


async def test_the_backend_is_not_called_for_an_expired_request() -> None:
    client = ScriptedClient(Answer())
    result = result_of(await carried(client, delivery_of(envelope(deadline_ms=NOW_MS))))
    assert (result.state, result.attempts) == ("expired", 0)
    assert client.requests == []


@pytest.mark.parametrize(("attempt", "crashes", "code"), [(5, 0, "attempts-exhausted"), (4, 3, "quarantined")])
async def test_the_backend_is_not_called_beyond_the_attempts_or_after_crashes(
    attempt: int, crashes: int, code: str
) -> None:
    client = ScriptedClient(Answer())
    done = await carried(client, delivery_of(envelope(), attempt=attempt, crashes=crashes))
    assert done.settlement.dead_letter is not None
    assert done.settlement.dead_letter.code == code
    assert result_of(done).state == "failed"
    assert client.requests == []


async def test_the_timeout_is_the_requests_own_cut_by_its_deadline() -> None:
    client = ScriptedClient(Answer())
    await carried(client, delivery_of(envelope(timeout_s=7.0)))
    await carried(client, delivery_of(envelope(timeout_s=7.0, deadline_ms=NOW_MS + 3000)))
    assert [request.timeout_s for request in client.requests] == [7.0, 3.0]


async def test_the_backend_gets_the_id_the_trace_and_no_credentials() -> None:
    client = ScriptedClient(Answer())
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = envelope(
        path="/a%20b",
        query="q=1",
        headers=(
            ("Accept", "text/plain"),
            ("Authorization", "Bearer secret"),
            ("Cookie", "a=b"),
            ("X-API-Key", "secret"),
            ("Connection", "keep-alive, x-hop"),
            ("X-Hop", "1"),
            ("TE", "trailers"),
            ("Host", "evil.example"),
            ("Idempotency-Key", "the-client's"),
            ("x-tier", "forged"),
        ),
        traceparent=f"00-{trace}-b7ad6b7169203331-01",
    )
    spec = spec_for("http://backend.example/api/", headers={"X-Tier": "gold"})
    await carried(client, delivery_of(sent), spec)
    request = client.requests[0]
    headers = dict(request.headers)
    traceparent = headers.pop("traceparent")
    assert request.url == "http://backend.example/api/a%20b?q=1"
    assert traceparent.startswith(f"00-{trace}-")
    assert headers == {
        "Accept": "text/plain",
        "x-tier": "gold",
        "idempotency-key": sent.id,
        "x-request-id": sent.id,
        "accept-encoding": "identity",
    }


async def test_a_body_up_to_the_inline_size_stays_with_the_result() -> None:
    blobs = MemoryBlobs()
    small = result_of(await carried(ScriptedClient(Answer(200, (), (b"x" * 65_536,))), blobs=blobs))
    assert (small.blob, len(small.body)) == (None, 65_536)
    large = result_of(await carried(ScriptedClient(Answer(200, (), (b"x" * 65_536, b"y"))), blobs=blobs))
    assert (large.body, large.body_bytes) == (b"", 65_537)
    assert list(blobs.stored) == [large.blob]


async def test_a_blob_store_that_is_away_costs_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "IN_THE_WAY_S", 0.01)

    class Away(MemoryBlobs):
        async def put(self, chunks: object, *, max_bytes: int) -> tuple[str, int]:
            raise Unavailable(f"away {chunks} {max_bytes}")

    done = await carried(ScriptedClient(Answer(200, (), (b"x" * 70_000,))), blobs=Away())
    assert done.settlement.result is None
    assert done.settlement.release


@pytest.mark.parametrize(
    ("attempt", "chance", "expected"),
    [(1, 0.0, 0.0), (1, 0.999, 0.999), (2, 0.5, 1.0), (3, 1.0, 4.0), (4, 1.0, 8.0), (40, 1.0, 8.0), (10_000, 1.0, 8.0)],
)
def test_backoff_doubles_up_to_its_bound_with_full_jitter(attempt: int, chance: float, expected: float) -> None:
    assert backoff_s(RETRY, attempt, chance, now=0.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", 5.0),
        ("0", 0.5),
        ("9999999", 8.0),
        (formatdate(NOW_MS / 1000 + 6, usegmt=True), 6.0),
        (formatdate(NOW_MS / 1000 - 60, usegmt=True), 0.5),
        ("-5", 0.5),
        ("soon", 0.5),
        ("\u0665", 0.5),
        ("9" * 5000, 8.0),
        (f"Thu, 26 Nov {'9' * 20} 00:00:00 GMT", 0.5),
    ],
)
def test_retry_after_is_kept_to_within_the_products_bound(value: str, expected: float) -> None:
    wait_s = backoff_s(RETRY, 1, 0.5, (("retry-after", value),), now=CLOCK.time())
    assert wait_s == pytest.approx(expected, abs=0.01)


async def test_a_result_is_kept_for_its_retention_past_the_deadline() -> None:
    spec = spec_for("http://backend.example/api", retry=RETRY)
    result = result_of(await carried(ScriptedClient(Answer(200, (), ())), spec=spec))

    assert result.retention_s == pytest.approx(spec.async_.retention_s + 60)
