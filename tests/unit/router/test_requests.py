from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apx.catalog.model import Async
from apx.errors import Unavailable
from apx.requests.model import Event, Problem
from tests.unit.admission.until import until
from tests.unit.router.desk import Answer, Desk


def at(request_id: str, rest: str = "") -> str:
    return f"/v1/requests/{request_id}{rest}"


async def test_a_waiting_request_is_accepted(desk: Desk) -> None:
    accepted = await desk.post()
    answer = await desk.ask("GET", at(accepted.json["id"]))
    assert (answer.status, answer.headers["retry-after"]) == (200, "1")
    assert answer.json == accepted.json


async def test_a_running_request_says_since_when(desk: Desk) -> None:
    await desk.accepted()
    answer = await desk.ask("GET", at(await desk.start()))
    assert (answer.json["state"], answer.json["times"].keys()) == ("running", {"accepted", "started"})


async def test_a_finished_request_says_where_its_result_is(desk: Desk) -> None:
    await desk.accepted()
    answer = await desk.ask("GET", at(request_id := await desk.finish()))
    assert (answer.status, answer.json["state"], answer.json["done"]) == (200, "succeeded", True)
    assert answer.json["response"] == {"status": 200, "size_bytes": 10, "location": at(request_id, "/result")}
    assert "retry-after" not in answer.headers


async def test_a_failed_request_says_why(desk: Desk) -> None:
    await desk.accepted()
    error = Problem(code="backend-timeout", detail="It took too long.")
    answer = await desk.ask("GET", at(await desk.finish(state="failed", status=None, error=error)))
    assert answer.json["error"] == {"code": "backend-timeout", "detail": "It took too long."}
    assert "response" not in answer.json


async def test_a_result_is_the_backends_own_answer(desk: Desk) -> None:
    await desk.accepted()
    headers = (("content-type", "text/csv"), ("etag", '"1"'), ("x-latin", "caf\xe9"))
    answer = await desk.ask("GET", at(request_id := await desk.finish(status=418, headers=headers), "/result"))
    assert (answer.status, answer.body) == (418, b"the answer")
    assert answer.headers == {
        "content-type": "text/csv",
        "etag": '"1"',
        "x-latin": "caf\xe9",
        "content-location": at(request_id, "/result"),
        "content-length": "10",
    }


async def test_a_result_that_is_not_there_yet_is_a_conflict(desk: Desk) -> None:
    answer = await desk.ask("GET", at(await desk.accepted(), "/result"))
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (409, "result-not-ready", "1")


NO_ANSWER: dict[str, tuple[dict[str, Any], int, str]] = {
    "failed": ({"state": "failed"}, 502, "backend-failed"),
    "failed for a reason": ({"state": "failed", "error": Problem(code="x", detail="y")}, 502, "x"),
    "cancelled": ({"state": "cancelled"}, 410, "request-cancelled"),
    "expired": ({"state": "expired"}, 504, "request-expired"),
}


@pytest.mark.parametrize(("changes", "status", "code"), NO_ANSWER.values(), ids=NO_ANSWER.keys())
async def test_a_result_without_an_answer_is_a_problem(
    desk: Desk, changes: dict[str, Any], status: int, code: str
) -> None:
    await desk.accepted()
    answer = await desk.ask("GET", at(await desk.finish(status=None, **changes), "/result"))
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_has_no_length(desk: Desk, status: int) -> None:
    await desk.accepted()
    answer = await desk.ask("GET", at(await desk.finish(status=status, body=b"", body_bytes=0, headers=()), "/result"))
    assert (answer.status, answer.body) == (status, b"")
    assert "content-length" not in answer.headers


async def stored(desk: Desk, content: bytes) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    return (await desk.blobs.put(chunks(), max_bytes=10**9))[0]


async def test_a_large_result_comes_from_the_blobs(desk: Desk) -> None:
    content = bytes(range(256)) * 4096
    await desk.accepted()
    request_id = await desk.finish(body=b"", blob=await stored(desk, content), body_bytes=len(content))
    answer = await desk.ask("GET", at(request_id, "/result"))
    assert (answer.status, answer.body == content, answer.complete) == (200, True, True)
    assert answer.headers["content-length"] == str(len(content))


async def damaged(desk: Desk, content: bytes) -> str:
    digest = await stored(desk, content)
    name = digest.removeprefix("sha256:")
    path = desk.folder / "blobs" / name[:2] / name
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return digest


@pytest.mark.parametrize("size", [10, 262_144, 1_000_000])
async def test_a_damaged_blob_is_never_a_whole_answer(desk: Desk, size: int) -> None:
    await desk.accepted()
    digest = await damaged(desk, b"a" * size)
    answer = await desk.ask("GET", at(await desk.finish(body=b"", blob=digest, body_bytes=size), "/result"))
    assert answer.status in (200, 503)
    assert answer.status == 503 or (not answer.complete and len(answer.body) < size)


async def test_a_blob_that_is_gone_is_a_result_that_is_gone(desk: Desk) -> None:
    await desk.accepted()
    blob = "sha256:" + hashlib.sha256(b"never stored").hexdigest()
    answer = await desk.ask("GET", at(await desk.finish(body=b"", blob=blob, body_bytes=12), "/result"))
    assert (answer.status, answer.code) == (410, "request-gone")


@pytest.mark.parametrize("rest", ["", "/result"])
async def test_head_is_get_without_the_body(desk: Desk, rest: str) -> None:
    await desk.accepted()
    request_id = await desk.finish()
    get, head = await desk.ask("GET", at(request_id, rest)), await desk.ask("HEAD", at(request_id, rest))
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


async def test_head_of_a_large_result_sends_none_of_it(desk: Desk) -> None:
    await desk.accepted()
    request_id = await desk.finish(body=b"", blob=await stored(desk, b"a" * 1000), body_bytes=1000)
    head = await desk.ask("HEAD", at(request_id, "/result"))
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "1000")


async def test_head_of_the_events_does_not_stay(desk: Desk) -> None:
    async with asyncio.timeout(5):
        head = await desk.ask("HEAD", at(await desk.accepted(), "/events"))
    assert (head.status, head.headers["content-type"], head.body) == (200, "text/event-stream", b"")


async def test_a_forged_id_and_anothers_id_get_the_same_answer(desk: Desk) -> None:
    request_id = await desk.accepted()
    other = {"x-api-key": await desk.give("globex")}
    answers = [
        await desk.ask(method, at(one, rest), other)
        for method, rest in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", ""), ("PUT", "/x"))
        for one in (request_id, "req_" + "A" * 60, "x", "", request_id[:-1], request_id.upper(), "%2e%2e", "é")
    ]
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0].status, answers[0].code) == (404, "not-found")


async def test_another_org_cannot_cancel(desk: Desk) -> None:
    request_id = await desk.accepted()
    await desk.ask("DELETE", at(request_id), {"x-api-key": await desk.give("globex")})
    assert (await desk.ask("GET", at(request_id))).json["state"] == "accepted"


async def test_another_key_of_the_same_org_sees_the_request(desk: Desk) -> None:
    answer = await desk.ask("GET", at(await desk.accepted()), {"x-api-key": await desk.give("acme")})
    assert answer.status == 200


ODD_PATHS = ["/", "/nothing", "/result/", "/result/x", "//result", "/events/1"]


@pytest.mark.parametrize("rest", ODD_PATHS)
async def test_a_path_under_a_request_has_one_form(desk: Desk, rest: str) -> None:
    assert (await desk.ask("GET", at(await desk.accepted(), rest))).status == 404


@pytest.mark.parametrize(
    ("rest", "allow"), [("", "DELETE, GET, HEAD"), ("/result", "GET, HEAD"), ("/events", "GET, HEAD")]
)
async def test_another_method_is_told_which_ones_there_are(desk: Desk, rest: str, allow: str) -> None:
    answer = await desk.ask("POST", at(await desk.accepted(), rest))
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method-not-allowed", allow)


async def test_a_cancelled_request_is_cancelled(desk: Desk) -> None:
    request_id = await desk.accepted()
    answer = await desk.ask("DELETE", at(request_id))
    assert (answer.status, answer.json["state"], answer.json["done"]) == (200, "cancelled", True)
    assert (await desk.ask("GET", at(request_id))).json == answer.json


async def test_what_is_done_is_not_cancelled(desk: Desk) -> None:
    await desk.accepted()
    assert (await desk.ask("DELETE", at(await desk.finish()))).json["state"] == "succeeded"


async def test_cancelling_again_changes_nothing(desk: Desk) -> None:
    request_id = await desk.accepted()
    first = await desk.ask("DELETE", at(request_id))
    desk.clock.advance(5)
    assert (await desk.ask("DELETE", at(request_id))).json == first.json


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_store_that_is_away_is_not_an_unknown_request(desk: Desk, method: str) -> None:
    request_id = await desk.accepted()
    desk.results.away = True
    answer = await desk.ask(method, at(request_id))
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "1")


LIFE = Async(deadline_s=100, retention_s=50)


@pytest.mark.parametrize(("after_s", "state"), [(0, "accepted"), (100, "accepted"), (101, "expired"), (150, "expired")])
async def test_a_request_that_nobody_saw_lives_by_its_receipt(desk: Desk, after_s: float, state: str) -> None:
    desk.serve(async_=LIFE)
    request_id = await desk.accepted()
    desk.clock.advance(after_s)
    assert (await desk.ask("GET", at(request_id))).json["state"] == state


@pytest.mark.parametrize("later", [Async(deadline_s=1, retention_s=1), Async(deadline_s=999, retention_s=999)])
async def test_a_request_waits_as_the_release_that_admitted_it_says(desk: Desk, later: Async) -> None:
    desk.serve(async_=LIFE)
    request_id = await desk.accepted()
    desk.serve(async_=later)
    states = []
    for _ in range(2):
        desk.clock.advance(75)
        states.append((await desk.ask("GET", at(request_id))).json["state"])
    assert states == ["accepted", "expired"]


@pytest.mark.parametrize("rest", ["", "/result", "/events"])
async def test_a_request_is_gone_after_its_retention(desk: Desk, rest: str) -> None:
    desk.serve(async_=LIFE)
    request_id = await desk.accepted()
    desk.clock.advance(151)
    answer = await desk.ask("GET", at(request_id, rest))
    assert (answer.status, answer.code) == (410, "request-gone")


async def test_a_request_of_a_product_that_is_gone_is_still_found(desk: Desk) -> None:
    await desk.accepted()
    request_id = await desk.finish()
    desk.products = {}
    desk.router.serve({})
    assert (await desk.ask("GET", at(request_id))).json["state"] == "succeeded"


@pytest.mark.parametrize("rest", ["", "/result"])
async def test_a_wait_ends_when_its_client_goes(desk: Desk, rest: str) -> None:
    request_id, left = await desk.accepted(), asyncio.Event()

    async def receive() -> dict[str, object]:
        await left.wait()
        return {"type": "http.disconnect"}

    headers = {**desk.headers, "prefer": "wait=60"}
    async with desk.asking("GET", at(request_id, rest), headers, receive=receive) as asking:
        await asyncio.sleep(0.05)
        assert not asking.done()
        left.set()
        assert (await asyncio.wait_for(asking, 5)).status == 0


async def test_a_token_beside_the_key_is_no_second_key(desk: Desk) -> None:
    request_id = await desk.accepted()
    headers = {**desk.headers, "authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"}
    assert (await desk.ask("GET", at(request_id), headers)).status == 200
    assert (await desk.ask("GET", at(request_id), {"authorization": headers["authorization"]})).status == 401


async def test_a_poll_may_wait(desk: Desk) -> None:
    request_id = await desk.accepted()
    async with desk.asking("GET", at(request_id), {**desk.headers, "prefer": "wait=10"}) as asked:
        await asyncio.sleep(0.01)
        assert not asked.done()
        await desk.finish()
        answer: Answer = await asked
    assert (answer.json["state"], answer.headers["preference-applied"]) == ("succeeded", "wait=10")


@pytest.mark.parametrize(
    ("asked", "waited"), [("wait=999999999", 60.0), ("wait=99999999999999999999", 60.0), ("wait=7", 7.0)]
)
async def test_a_wait_is_clamped(desk: Desk, monkeypatch: pytest.MonkeyPatch, asked: str, waited: float) -> None:
    seen: list[float] = []

    async def wait(_: str, timeout_s: float) -> None:
        seen.append(timeout_s)

    monkeypatch.setattr(desk.results, "wait", wait)
    await desk.ask("GET", at(await desk.accepted()), {**desk.headers, "prefer": asked})
    assert seen == [waited]


def parsed(stream: bytes) -> list[dict[str, str]]:
    """Read server-sent events as a browser does (WHATWG HTML, section 9.2.6)."""
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    events = []
    for block in text.split("\n\n"):
        event: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data" and "data" in event:
                event["data"] += "\n" + value
            elif name:
                event[name] = value
        if "data" in event:
            events.append(event)
    return events


CHUNKS = {
    "plain": "hello",
    "nothing": "",
    "several lines": "a\nb",
    "a line end at the end": "a\n",
    "line ends alone": "\n\n",
    "a leading blank": " a",
    "a colon": "data: x",
    "a line separator of Unicode": '{"a":"b\u2028c\u2029d"}',
    "vertical tab, form feed, next line": "a\x0bb\x0cc\x85d\x1ce",
    "other scripts": "日本語 😀",
    "NUL": "a\0b",
}


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS.keys())
async def test_a_chunk_comes_through_as_it_was(desk: Desk, chunk: str) -> None:
    await desk.accepted()
    request_id = await desk.start()
    await desk.results.append_event(request_id, "chunk", chunk)
    await desk.ask("DELETE", at(request_id))
    events = parsed((await desk.ask("GET", at(request_id, "/events"))).body)
    assert [event["data"] for event in events if event["event"] == "chunk"] == [chunk]


@pytest.mark.parametrize(("raw", "seen"), [("a\rb", "a\nb"), ("a\r\nb", "a\nb"), ("a\r", "a\n"), ("\r\n", "\n")])
async def test_a_carriage_return_ends_a_line(desk: Desk, raw: str, seen: str) -> None:
    await desk.accepted()
    request_id = await desk.start()
    await desk.results.append_event(request_id, "chunk", raw)
    await desk.ask("DELETE", at(request_id))
    events = parsed((await desk.ask("GET", at(request_id, "/events"))).body)
    assert [event["data"] for event in events if event["event"] == "chunk"] == [seen]


async def test_a_chunk_cannot_make_up_an_event(desk: Desk) -> None:
    await desk.accepted()
    request_id = await desk.start()
    await desk.results.append_event(request_id, "chunk", 'x\n\nevent: state\ndata: {"state":"succeeded"}\r\rid: 9')
    await desk.ask("DELETE", at(request_id))
    events = parsed((await desk.ask("GET", at(request_id, "/events"))).body)
    assert [event["event"] for event in events] == ["state", "chunk", "state"]


async def test_the_events_end_with_the_final_state(desk: Desk) -> None:
    await desk.accepted()
    answer = await desk.ask("GET", at(await desk.finish(), "/events"))
    assert (answer.headers["content-type"], answer.complete) == ("text/event-stream", True)
    assert parsed(answer.body)[-1]["data"] == '{"state": "succeeded"}'


async def test_events_come_as_they_happen(desk: Desk) -> None:
    seen: list[bytes] = []
    await desk.accepted()
    request_id = await desk.start()
    async with desk.asking("GET", at(request_id, "/events"), on_piece=seen.append) as asked:
        await until(lambda: b"running" in b"".join(seen))
        await desk.results.append_event(request_id, "chunk", "now")
        await until(lambda: b"data: now" in b"".join(seen))
        assert not asked.done()


async def test_events_resume_after_the_last_one_seen(desk: Desk) -> None:
    await desk.accepted()
    request_id = await desk.start()
    for chunk in ("one", "two"):
        await desk.results.append_event(request_id, "chunk", chunk)
    await desk.ask("DELETE", at(request_id))
    first = parsed((await desk.ask("GET", at(request_id, "/events"))).body)
    after = {**desk.headers, "last-event-id": next(e["id"] for e in first if e["data"] == "one")}
    again = parsed((await desk.ask("GET", at(request_id, "/events"), after)).body)
    assert [event["data"] for event in again] == ["two", '{"state": "cancelled"}']


@pytest.mark.parametrize("last", ["", "x", "-1", "9" * 1000, "\x01", "0-0"])
async def test_an_odd_last_event_id_still_ends_with_the_state(desk: Desk, last: str) -> None:
    await desk.accepted()
    answer = await desk.ask("GET", at(await desk.finish(), "/events"), {**desk.headers, "last-event-id": last})
    assert parsed(answer.body)[-1]["data"].replace(" ", "") == '{"state":"succeeded"}'


async def test_the_events_of_a_request_that_expired_unseen_end(desk: Desk) -> None:
    desk.serve(async_=LIFE)
    request_id = await desk.accepted()
    desk.clock.advance(101)
    async with asyncio.timeout(5):
        answer = await desk.ask("GET", at(request_id, "/events"))
    assert parsed(answer.body)[-1]["data"] == '{"state":"expired"}'


async def test_a_quiet_stream_gives_signs_of_life(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.router.events.SIGN_OF_LIFE_S", 0.01)
    seen: list[bytes] = []
    async with desk.asking("GET", at(await desk.accepted(), "/events"), on_piece=seen.append):
        await until(lambda: seen.count(b":\n\n") > 1)


@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
async def test_a_stream_ends_when_its_key_is_revoked(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    busy: bool,  # noqa: FBT001 -- a case
) -> None:
    monkeypatch.setattr("apx.admission.identity.LOOK_AGAIN_S", 0.3)
    await desk.accepted()
    request_id = await desk.start()
    async with desk.asking("GET", at(request_id, "/events")) as asked:
        await asyncio.sleep(0.01)
        for record in await desk.keys.list_keys():
            await desk.keys.revoke(record.id)
        desk.clock.advance(61)  # what was cached is old
        async with asyncio.timeout(5):
            while not asked.done():
                if busy:
                    await desk.results.append_event(request_id, "chunk", "more")
                await asyncio.sleep(0.005)
        answer = await asked
    assert answer.complete
    assert (parsed(answer.body)[-1]["event"], answer.body.count(b"event: problem")) == ("problem", 1)


async def test_a_stream_ends_when_its_client_goes(desk: Desk) -> None:
    gone = asyncio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async with desk.asking("GET", at(await desk.accepted(), "/events"), receive=receive) as asked:
        await asyncio.sleep(0.01)
        gone.set()
        async with asyncio.timeout(5):
            await asked


async def failing(error: Exception) -> AsyncIterator[Event]:
    for _ in range(1):
        raise error
    yield Event(id="", kind="chunk", data="")


async def test_a_stream_whose_store_goes_tells_the_client_to_come_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.results, "events", lambda *_: failing(Unavailable("away")))
    answer = await desk.ask("GET", at(await desk.accepted(), "/events"))
    assert (answer.body, answer.complete) == (b"retry: 1000\n\n", True)


async def test_a_stream_that_crashes_is_not_taken_for_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(desk.results, "events", lambda *_: failing(RuntimeError("a bug")))
    answer = await desk.ask("GET", at(await desk.accepted(), "/events"))
    assert not answer.complete
    assert "request.crashed" in capsys.readouterr().out
