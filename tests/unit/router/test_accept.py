from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apx.catalog.model import Async, PlanSpec, PolicyRef, Rate
from apx.policy.decision import Decision
from apx.requests.model import Problem
from tests.unit.admission.until import until
from tests.unit.router.desk import JSON, Answer, Desk, ask

SCARCE = PlanSpec(title="Scarce", rate=Rate(per_second=0.1, burst=1))


async def test_an_accepted_request_gets_a_receipt(desk: Desk) -> None:
    answer = await desk.post()
    digest = desk.products["orders"].digest
    assert answer.status == 202
    assert answer.headers["location"] == f"/v1/requests/{answer.json['id']}"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == JSON
    assert answer.json == {
        "id": answer.json["id"],
        "state": "accepted",
        "done": False,
        "product": "orders",
        "release": digest,
        "times": {"accepted": "2023-11-14T22:13:20.000Z"},
    }


async def test_the_receipt_is_genuine(desk: Desk) -> None:
    receipt = desk.receipts.verify(await desk.accepted())
    assert receipt is not None
    assert desk.receipts.belongs_to(receipt, "acme")


async def test_what_was_asked_for_is_published_once(desk: Desk) -> None:
    await desk.ask("POST", "/orders", {**desk.headers, "content-type": JSON}, body=b'{"a":1}', query="q=1")
    (sent,) = desk.bus.published
    assert (sent.org, sent.product, sent.method, sent.path, sent.query) == ("acme", "orders", "POST", "/", "q=1")
    assert (sent.body, sent.headers) == (b'{"a":1}', (("content-type", JSON),))


async def test_a_body_in_pieces_is_one_body(desk: Desk) -> None:
    await desk.ask("POST", "/orders", body=[b"ab", b"", b"cd"])
    assert desk.bus.published[0].body == b"abcd"


async def test_an_accepted_request_says_what_is_left_of_the_rate(desk: Desk) -> None:
    answer = await desk.post()
    assert answer.headers["ratelimit-policy"] == '"plan";q=1000;w=10'
    assert answer.headers["ratelimit"] == '"plan";r=999;t=1'


NOT_FORWARDED = {
    "authorization": "Bearer x",
    "cookie": "a=b",
    "connection": "x-hop, close",
    "x-hop": "named by connection",
    "te": "trailers",
    "upgrade": "websocket",
    "expect": "100-continue",
    "host": "a.example",
    "x-forwarded-for": "10.0.0.1",
    "x-real-ip": "10.0.0.1",
    "forwarded": "for=10.0.0.1",
    "x-envoy-external-address": "10.0.0.1",
    "x-apx-jwt-payload": "e30",
    "idempotency-key": "k",
    "prefer": "respond-async",
    "content-length": "2",
}


async def test_no_credential_and_no_hop_by_hop_field_is_forwarded(desk: Desk) -> None:
    fields = {**NOT_FORWARDED, "authorization": f"Bearer {desk.key}", "x-kept": "1"}
    await desk.ask("POST", "/orders", {**desk.headers, **fields}, body=b"{}")
    assert desk.bus.published[0].headers == (("x-kept", "1"),)


@pytest.mark.parametrize("name", ["x-tier", "X-Tier"])
async def test_a_client_cannot_forge_a_field_that_the_policy_sets(desk: Desk, name: str) -> None:
    desk.policy.decision = Decision(allow=True, reason="ok", headers={name: "free"})
    await desk.post(x_tier="gold")
    assert desk.bus.published[0].headers == (("x-tier", "free"),)


@pytest.mark.parametrize(("lane", "expected"), [("org", "org"), ("key", "key_"), ("request", "req_")])
async def test_the_lane_is_what_the_product_says(desk: Desk, lane: Any, expected: str) -> None:
    desk.serve(async_=Async(lane=lane))
    await desk.post()
    assert desk.bus.published[0].lane.startswith(expected)


REFUSED: dict[str, tuple[str, str, dict[str, str], int, str]] = {
    "no product": ("GET", "/nothing", {}, 404, "not-found"),
    "no route": ("GET", "/orders/1/2", {}, 404, "not-found"),
    "next to a base path": ("POST", "/ordersx", {}, 404, "not-found"),
    "root": ("GET", "/", {}, 404, "not-found"),
    "another method": ("DELETE", "/orders", {}, 405, "method-not-allowed"),
    "options": ("OPTIONS", "/orders", {}, 405, "method-not-allowed"),
    "head where it is not listed": ("HEAD", "/orders/1", {}, 405, "method-not-allowed"),
    "escaped dots": ("GET", "/orders/%2e%2e/x", {}, 400, "path-invalid"),
    "double slash": ("GET", "//orders", {}, 400, "path-invalid"),
    "matrix parameter": ("GET", "/orders/..;/x", {}, 400, "path-invalid"),
    "raw bytes": ("GET", "/orders/\xe9", {}, 400, "path-invalid"),
    "asterisk": ("OPTIONS", "*", {}, 400, "path-invalid"),
    "a very long path": ("GET", "/orders/" + "a" * 9000, {}, 400, "path-invalid"),
    "the requests without an id": ("GET", "/v1/requests", {}, 404, "not-found"),
    "bad idempotency key": ("POST", "/orders", {"idempotency-key": "\x01"}, 400, "idempotency-key-invalid"),
    "long idempotency key": ("POST", "/orders", {"idempotency-key": "k" * 256}, 400, "idempotency-key-invalid"),
    "empty idempotency key": ("POST", "/orders", {"idempotency-key": ""}, 400, "idempotency-key-invalid"),
    "a sync product": ("GET", "/files/a", {}, 503, "product-moving"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
async def test_a_refusal_is_a_problem_and_publishes_nothing(
    desk: Desk, case: tuple[str, str, dict[str, str], int, str]
) -> None:
    method, path, headers, status, code = case
    answer = await desk.ask(method, path, {**desk.headers, **headers})
    assert (answer.status, desk.bus.published) == (status, [])
    if method != "HEAD":
        assert answer.code == code
        assert answer.json["request_id"] == "the-request-id"
        assert {"type", "title", "status", "detail"} <= answer.json.keys()


async def test_a_refused_method_is_told_which_ones_there_are(desk: Desk) -> None:
    assert (await desk.ask("DELETE", "/orders")).headers["allow"] == "GET, HEAD, POST"


async def test_the_answer_to_head_has_no_body(desk: Desk) -> None:
    answer = await desk.ask("HEAD", "/orders")
    assert (answer.status, answer.body) == (202, b"")


NOBODY: dict[str, dict[str, str]] = {
    "nothing": {},
    "rubbish": {"x-api-key": "rubbish"},
    "rubbish bearer": {"authorization": "Bearer rubbish"},
    "basic": {"authorization": "Basic YTpi"},
    "obs-text": {"x-api-key": "apx_\xff"},
    "one megabyte": {"x-api-key": "a" * 1_000_000},
}


@pytest.mark.parametrize("headers", NOBODY.values(), ids=NOBODY.keys())
@pytest.mark.parametrize("path", ["/orders", "/v1/requests/req_x", "/-/admit/files/a"])
async def test_every_bad_credential_gets_the_same_answer(desk: Desk, headers: dict[str, str], path: str) -> None:
    answer = await desk.ask("GET", path, headers)
    nobody = await desk.ask("GET", "/orders", {})
    assert answer == nobody
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_two_different_keys_are_nobody(desk: Desk) -> None:
    other = await desk.give("acme")
    assert (await desk.post(authorization=f"Bearer {other}")).status == 401


async def test_a_field_that_names_the_caller_stands_once(desk: Desk) -> None:
    key = desk.key.encode()
    answer = await ask(desk.router, "POST", "/orders", headers=[(b"x-api-key", key), (b"x-api-key", key)])
    assert (answer.status, answer.code) == (400, "header-repeated")
    assert answer.json["request_id"] == "the-request-id"


async def test_a_key_in_the_query_is_no_credential(desk: Desk) -> None:
    assert (await desk.ask("POST", "/orders", {}, query=f"x-api-key={desk.key}")).status == 401


async def test_an_unknown_caller_is_answered_before_a_body_is_read(desk: Desk) -> None:
    async def never() -> Any:
        raise AssertionError("the body of a stranger was read")

    assert (await desk.ask("POST", "/orders", {}, receive=never)).status == 401


async def test_an_expired_key_is_nobody(desk: Desk) -> None:
    key = await desk.give("acme", expires_ms=1)
    assert (await desk.ask("POST", "/orders", {"x-api-key": key})).status == 401


async def test_a_key_for_other_products_is_forbidden(desk: Desk) -> None:
    key = await desk.give("acme", plans={})
    answer = await desk.ask("POST", "/orders", {"x-api-key": key})
    assert (answer.status, answer.code) == (403, "product-not-entitled")


async def test_a_deny_shows_the_policys_reason(desk: Desk) -> None:
    desk.policy.decision = Decision(allow=False, reason="too-late", detail="Come tomorrow.")
    answer = await desk.post()
    assert (answer.status, answer.code, answer.json["detail"]) == (403, "too-late", "Come tomorrow.")


async def test_a_declared_body_that_is_too_large_is_refused_unread(desk: Desk) -> None:
    async def never() -> Any:
        raise AssertionError("it was read")

    answer = await desk.ask("POST", "/orders", {**desk.headers, "content-length": "1001"}, receive=never)
    assert (answer.status, answer.code) == (413, "body-too-large")


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "x", "", "1, 1"])
async def test_an_odd_declared_length_is_no_fault_of_ours(desk: Desk, length: str) -> None:
    answer = await desk.ask("POST", "/orders", {**desk.headers, "content-length": length}, body=b"{}")
    assert answer.status < 500


async def test_a_streamed_body_that_is_too_large_is_refused_at_once(desk: Desk) -> None:
    pieces = [b"a" * 400] * 10
    answer = await desk.ask("POST", "/orders", body=pieces)
    assert (answer.status, answer.code) == (413, "body-too-large")


async def test_a_body_of_the_largest_size_is_taken(desk: Desk) -> None:
    assert (await desk.ask("POST", "/orders", body=[b"a" * 400] * 2 + [b"a" * 200])).status == 202


async def test_a_body_that_the_policy_cannot_read_is_refused(desk: Desk) -> None:
    desk.serve(policy=PolicyRef(package="p", body=True))
    assert (await desk.post(b'{"a":1,"a":2}', content_type=JSON)).status == 400
    assert (await desk.post(b"{}", content_type="text/plain")).status == 415


async def test_a_used_up_rate_is_429_with_the_fields_to_plan_by(desk: Desk) -> None:
    desk.serve(plan=SCARCE)
    await desk.post()
    answer = await desk.post()
    assert (answer.status, answer.code) == (429, "quota-exceeded")
    assert (answer.headers["retry-after"], answer.headers["ratelimit"]) == ("10", '"plan";r=0;t=10')
    assert answer.headers["ratelimit-policy"] == '"plan";q=1;w=10'


async def test_after_retry_after_there_is_room(desk: Desk) -> None:
    desk.serve(plan=SCARCE)
    await desk.post()
    desk.clock.advance(float((await desk.post()).headers["retry-after"]))
    assert (await desk.post()).status == 202


async def test_what_is_queued_knows_what_it_is_charged_as(desk: Desk) -> None:
    desk.policy.decision = Decision(allow=True, reason="ok", cost=2.0, cost_usd=0.03)
    await desk.post()
    [queued] = desk.bus.published
    assert (queued.plan, queued.cost, queued.cost_usd) == ("free", 2.0, 0.03)


async def test_a_full_backlog_is_429(desk: Desk) -> None:
    desk.serve(async_=Async(backlog=1))
    await desk.post()
    answer = await desk.post()
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "backlog-full", "5")


async def test_without_the_bus_nothing_is_accepted(desk: Desk) -> None:
    desk.bus.away = True
    answer = await desk.post()
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "1")
    assert "secret" not in answer.body.decode()


async def test_without_the_keys_nobody_is_refused_as_unknown(desk: Desk) -> None:
    desk.keys.away = True
    answer = await desk.post()
    assert (answer.status, answer.code) == (503, "unavailable")


async def test_a_crash_of_ours_is_a_problem_without_details(desk: Desk) -> None:
    desk.policy.crash = True
    answer = await desk.post()
    assert (answer.status, answer.code) == (500, "internal")
    assert b"SECRET" not in answer.body


@pytest.mark.parametrize("before", [0, 2])
async def test_a_client_that_goes_away_in_its_body_publishes_nothing(desk: Desk, before: int) -> None:
    messages: list[Any] = [{"type": "http.request", "body": b"a", "more_body": True}] * before

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    answer = await desk.ask("POST", "/orders", receive=receive)
    assert (answer.status, desk.bus.published) == (0, [])


async def test_the_same_idempotency_key_and_body_give_the_same_receipt(desk: Desk) -> None:
    first = await desk.post(idempotency_key="k")
    desk.clock.advance(5)
    again = await desk.post(idempotency_key='"k"')
    assert again.json == first.json
    assert again.headers["location"] == first.headers["location"]


async def test_a_repeat_names_the_release_that_admitted_it(desk: Desk) -> None:
    first = await desk.post(idempotency_key="k")
    desk.serve(title="Another release")
    again = await desk.post(idempotency_key="k")
    assert again.json["release"] == first.json["release"]


async def test_the_same_idempotency_key_with_another_body_is_refused(desk: Desk) -> None:
    await desk.post(b"1", idempotency_key="k")
    answer = await desk.post(b"2", idempotency_key="k")
    assert (answer.status, answer.code) == (422, "idempotency-key-reused")


async def test_idempotency_keys_of_two_orgs_are_two(desk: Desk) -> None:
    first = await desk.post(idempotency_key="k")
    other = await desk.give("globex")
    answer = await desk.ask("POST", "/orders", {"x-api-key": other, "idempotency-key": "k"}, body=b"{}")
    assert (answer.status, answer.json["id"] == first.json["id"]) == (202, False)


async def test_a_repeat_of_what_is_done_says_so(desk: Desk) -> None:
    await desk.post(idempotency_key="k")
    await desk.finish()
    again = await desk.post(idempotency_key="k")
    assert (again.status, again.json["state"], again.json["done"]) == (202, "succeeded", True)


async def test_a_repeat_of_what_waits_for_days_is_still_a_repeat(desk: Desk) -> None:
    desk.serve(async_=Async(deadline_s=3 * 86_400, retention_s=60))
    first = await desk.post(idempotency_key="abc")
    desk.clock.advance(2 * 86_400)
    assert (await desk.post(idempotency_key="abc")).json["id"] == first.json["id"]


async def test_a_repeat_of_what_is_no_longer_kept_does_not_say_that_it_waits(desk: Desk) -> None:
    desk.serve(async_=Async(deadline_s=10, retention_s=10))
    await desk.post(idempotency_key="k")
    await desk.finish(retention_s=10)
    desk.clock.advance(60)
    again = await desk.post(idempotency_key="k")
    assert (again.status, again.code) == (410, "request-gone")


async def test_a_wait_gives_the_backends_own_answer(desk: Desk) -> None:
    async with desk.asking("POST", "/orders", {**desk.headers, "prefer": "wait=10"}) as asked:
        await until(lambda: bool(desk.bus.published))
        request_id = await desk.finish(status=201, headers=(("content-type", "text/plain"), ("etag", '"1"')))
        answer: Answer = await asked
    assert (answer.status, answer.body, answer.headers["etag"]) == (201, b"the answer", '"1"')
    assert answer.headers["preference-applied"] == "wait=10"
    assert answer.headers["content-location"] == f"/v1/requests/{request_id}/result"


async def test_a_wait_that_ends_without_a_result_is_accepted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def wait(request_id: str, timeout_s: float) -> None:
        waited.append(timeout_s)
        assert desk.receipts.verify(request_id)

    monkeypatch.setattr(desk.results, "wait", wait)
    answer = await desk.post(prefer="wait=10")
    assert (answer.status, waited, answer.headers["preference-applied"]) == (202, [10.0], "wait=10")


async def test_a_client_that_goes_while_it_waits_leaves_its_request_accepted(desk: Desk) -> None:
    pieces: list[dict[str, object]] = [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, object]:
        return pieces.pop(0)

    headers = {**desk.headers, "prefer": "wait=60"}
    answer = await asyncio.wait_for(desk.ask("POST", "/orders", headers, receive=receive), 5)
    assert (answer.status, len(desk.bus.published)) == (0, 1)


async def test_a_wait_for_a_request_that_fails_says_where_it_is(desk: Desk) -> None:
    async with desk.asking("POST", "/orders", {**desk.headers, "prefer": "wait=10"}) as asked:
        await until(lambda: bool(desk.bus.published))
        request_id = await desk.finish(
            state="failed", status=None, error=Problem(code="backend-timeout", detail="Slow.")
        )
        answer: Answer = await asked
    assert (answer.status, answer.code) == (502, "backend-timeout")
    assert request_id in answer.headers["content-location"]


async def test_what_was_accepted_is_answered_so_even_when_waiting_fails(desk: Desk) -> None:
    desk.results.away = True
    answer = await desk.post(prefer="wait=10")
    assert (answer.status, answer.json["state"]) == (202, "accepted")


@pytest.mark.parametrize(
    "prefer", ["wait=-1", "wait=abc", "wait=1e9", "wait=0", "wait", "wait=", "wait=1.5", "wait=\u0661"]
)
async def test_a_wait_that_is_none_is_ignored(desk: Desk, prefer: str) -> None:
    async with asyncio.timeout(5):
        answer = await desk.ask("POST", "/orders", {**desk.headers, "prefer": prefer.encode().decode("latin-1")})
    assert (answer.status, answer.headers.get("preference-applied")) == (202, None)


async def test_a_preference_for_an_early_answer_is_confirmed(desk: Desk) -> None:
    assert (await desk.post(prefer="respond-async")).headers["preference-applied"] == "respond-async"


async def test_an_unknown_preference_is_not_confirmed(desk: Desk) -> None:
    assert "preference-applied" not in (await desk.post(prefer="return=minimal")).headers


HEALTH = [(True, "/readyz", 200), (False, "/readyz", 503), (False, "/healthz", 200)]


@pytest.mark.parametrize(("ready", "path", "status"), HEALTH)
async def test_health_needs_no_key(desk: Desk, ready: bool, path: str, status: int) -> None:  # noqa: FBT001 -- a case
    desk.is_ready = ready
    assert (await desk.ask("GET", path, {})).status == status
