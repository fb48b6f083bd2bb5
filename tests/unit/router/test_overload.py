"""Too much work: who is turned away, how, and what is no work."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from apx.admission.admit import LiveProduct
from apx.admission.shedding import COLLECTING
from apx.catalog.model import Auth, Jwt, PlanSpec, Rate
from apx.errors import Unavailable
from apx.requests.model import Progress, Result
from apx.telemetry import metrics
from services.router.door import REMEMBERED_S
from tests.unit.release.examples import release, spec
from tests.unit.router.desk import Desk
from tests.unit.router.wire import Wire

FREE, ENTERPRISE = 0, 10


PATHS = {"accept": "/orders?a=1", "question of the edge": "/-/admit/files/a"}


@pytest.fixture
async def busy(desk: Desk) -> Desk:
    """A router with two plans of `orders`, in which there is no room left for the lower one."""
    rate = Rate(per_second=1000, burst=1000)
    plans = {
        "free": PlanSpec(title="Free", rate=rate, priority=FREE),
        "enterprise": PlanSpec(title="Enterprise", rate=rate, priority=ENTERPRISE),
    }
    desk.products["orders"] = LiveProduct(release("orders", spec(), plans), desk.policy)
    desk.serve_products()
    fill(desk, FREE)
    return desk


def fill(desk: Desk, priority: int) -> None:
    while desk.shedder.enter(priority):
        pass


def empty(desk: Desk) -> None:
    while desk.shedder.busy:
        desk.shedder.leave(FREE)


async def test_who_is_turned_away_is_told_so_and_when_to_come_back(busy: Desk) -> None:
    busy.chance = 0.5
    before = metrics.SHED.value("orders", "0"), metrics.ADMISSIONS.value("orders", "refused", "overloaded")
    answer = await busy.post()
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "overloaded", "3")
    assert answer.json["request_id"] == "the-request-id"
    assert not busy.bus.published
    after = metrics.SHED.value("orders", "0"), metrics.ADMISSIONS.value("orders", "refused", "overloaded")
    assert after == (before[0] + 1, before[1] + 1)


async def test_a_higher_plan_is_let_in_when_the_lower_one_is_not(busy: Desk) -> None:
    key = await busy.give("globex", plans={"orders": "enterprise"})
    assert (await busy.ask("POST", "/orders", {"x-api-key": key}, body=b"{}")).status == 202
    fill(busy, ENTERPRISE)
    assert (await busy.ask("POST", "/orders", {"x-api-key": key}, body=b"{}")).status == 503


async def test_when_the_work_is_done_all_are_let_in_again(busy: Desk) -> None:
    assert (await busy.post()).status == 503
    empty(busy)
    assert (await busy.post()).status == 202


async def test_the_body_of_who_is_turned_away_is_not_read_and_its_policy_not_asked(busy: Desk) -> None:
    async def receive() -> Any:
        raise AssertionError("nobody wants the body")

    assert (await busy.ask("POST", "/orders", receive=receive)).status == 503
    assert not busy.policy.shown


async def test_a_stranger_is_told_so_and_not_that_there_is_much_to_do(busy: Desk) -> None:
    assert (await busy.ask("POST", "/orders", {"x-api-key": "wrong"}, body=b"{}")).status == 401


async def test_admission_of_a_synchronous_request_is_work_too(busy: Desk) -> None:
    assert (await busy.ask("GET", "/-/admit/files/a")).code == "overloaded"
    empty(busy)
    assert (await busy.ask("GET", "/-/admit/files/a")).status == 200
    assert busy.shedder.busy == 0


async def test_health_is_told_whatever_there_is_to_do(busy: Desk) -> None:
    fill(busy, COLLECTING)
    for path in ("/healthz", "/readyz"):
        assert (await busy.ask("GET", path, {})).status == 200


@pytest.mark.parametrize(("path", "prefer"), [("", ""), ("/result", ""), ("/result", "wait=1")])
async def test_who_collects_is_turned_away_last(desk: Desk, path: str, prefer: str) -> None:
    request = await desk.accepted()
    await desk.finish()
    headers = {**desk.headers, **({"prefer": prefer} if prefer else {})}
    fill(desk, FREE)
    assert (await desk.post()).status == 503
    assert (await desk.ask("GET", f"/v1/requests/{request}{path}", headers)).status == 200
    fill(desk, COLLECTING)
    assert (await desk.ask("GET", f"/v1/requests/{request}{path}", headers)).code == "overloaded"


async def test_who_waits_for_a_result_or_for_events_is_no_work(desk: Desk) -> None:
    request = await desk.accepted()
    wait = {**desk.headers, "prefer": "wait=30"}
    waiting = [
        asyncio.create_task(desk.ask("POST", "/orders", wait, body=b"{}")),
        asyncio.create_task(desk.ask("GET", f"/v1/requests/{request}/result", wait)),
        asyncio.create_task(desk.ask("GET", f"/v1/requests/{request}/events")),
    ]
    async with asyncio.timeout(5):
        while len(desk.bus.published) < 2 or metrics.STREAMS_OPEN.value("sse") < 1:  # noqa: ASYNC110 -- a number
            await asyncio.sleep(0)
    assert desk.shedder.busy == 0
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("prefer", ["", "respond-async", "wait=0", "wait=soon"])
async def test_who_prefers_something_else_than_to_wait_is_work(desk: Desk, prefer: str) -> None:
    request = await desk.accepted()
    seen: list[int] = []
    get = desk.results.get

    async def counted(request_id: str) -> Result | Progress | None:
        seen.append(desk.shedder.busy)
        return await get(request_id)

    desk.results.get = counted  # type: ignore[method-assign]
    await desk.ask("GET", f"/v1/requests/{request}", {**desk.headers, "prefer": prefer})
    assert (seen, desk.shedder.busy) == ([1], 0)


async def test_a_client_that_is_slow_to_read_or_to_send_is_no_work(desk: Desk) -> None:
    request = await desk.accepted()
    await desk.finish()
    seen: list[int] = []
    path = f"/v1/requests/{request}/result"
    await desk.ask("GET", path, on_piece=lambda _: seen.append(desk.shedder.busy))
    assert set(seen) == {0}

    async def receive() -> Any:
        seen.append(desk.shedder.busy)
        return {"type": "http.request", "body": b"{}"}

    assert (await desk.ask("POST", "/orders", receive=receive)).status == 202
    assert set(seen) == {0}


async def test_whatever_becomes_of_a_request_its_work_ends(desk: Desk) -> None:
    desk.policy.crash = True
    assert (await desk.post()).status == 500
    desk.policy.crash, desk.bus.away = False, True
    assert (await desk.post()).status == Unavailable.status
    desk.results.away = True
    request = str(desk.receipts.mint("acme", "orders", desk.products["orders"].digest, 0, lambda n: b"0" * n))
    assert (await desk.ask("GET", f"/v1/requests/{request}")).status == Unavailable.status
    assert desk.shedder.busy == 0


def at_once(wire: Wire, key: str, path: str = PATHS["accept"]) -> bool:
    """Tell whether a request is answered before anything else has run."""
    wire.got = b""
    wire.send(key, path)
    return bool(wire.got)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The canonical lines that are written."""
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "apx.telemetry.logs.canonical", lambda event, **fields: written.append({"event": event} | fields)
    )
    return written


@pytest.mark.parametrize("kind", PATHS)
async def test_who_was_turned_away_inside_is_turned_away_at_the_door_and_told_the_same(busy: Desk, kind: str) -> None:
    wire = Wire(busy)
    status, inside = await wire.answer(busy.key, PATHS[kind])
    assert at_once(wire, busy.key, PATHS[kind])
    assert wire.got.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert (status, json.loads(wire.got.partition(b"\r\n\r\n")[2])) == (503, inside)
    assert b"\r\nretry-after: 1\r\n" in wire.got
    assert b"\r\ncontent-type: application/problem+json\r\n" in wire.got
    assert inside["request_id"] == "r-1"
    assert busy.shedder.busy == 75, "what was filled, and nothing more"


async def test_what_the_door_turned_away_is_told_by_caller_and_once(busy: Desk, lines: list[dict[str, Any]]) -> None:
    wire = Wire(busy)
    await wire.answer(busy.key)
    assert [line["event"] for line in lines] == ["request"], "the first was turned away inside"
    record = await busy.identity.identify(busy.key)
    assert record is not None
    for _ in range(2):
        assert at_once(wire, busy.key)
    busy.door.tell()
    busy.door.tell()
    told = {"product": "orders", "org": "acme", "key": record.id, "priority": FREE, "times": 2}
    assert lines[1:] == [{"event": "requests.turned-away", **told}]


@pytest.mark.parametrize("end", ["renewed", "live has changed", "stopped"])
async def test_no_count_of_the_door_is_lost(busy: Desk, lines: list[dict[str, Any]], end: str) -> None:
    telling = asyncio.create_task(busy.door.keep_telling())
    await Wire(busy).answer(busy.key)
    assert at_once(Wire(busy), busy.key)
    if end == "renewed":
        busy.clock.advance(REMEMBERED_S)
        await Wire(busy).answer(busy.key)
    elif end == "live has changed":
        busy.serve_products()
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    assert [line["times"] for line in lines if line["event"] == "requests.turned-away"] == [1]


async def test_the_name_of_a_request_is_told_as_it_is_whatever_is_in_it(busy: Desk) -> None:
    wire = Wire(busy)
    await wire.answer(busy.key)
    wire.send(busy.key, name='a"b\\')
    head, _, body = wire.got.rpartition(b"\r\n\r\n")
    assert json.loads(body)["request_id"] == 'a"b\\'
    assert head.endswith(b"content-length: %d" % len(body))


async def test_the_answer_to_a_head_has_no_body_at_the_door_either(busy: Desk) -> None:
    """What came behind it would be taken for the beginning of the connection's next answer."""
    wire = Wire(busy)
    await wire.answer(busy.key)
    wire.got = b""
    wire.send(busy.key, method="HEAD", body=b"")
    head, _, body = wire.got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert body == b""


async def test_the_connection_goes_on_after_a_refusal_at_the_door(busy: Desk) -> None:
    wire = Wire(busy)
    for _ in range(3):
        assert (await wire.answer(busy.key))[0] == 503
    empty(busy)
    assert (await wire.answer(busy.key))[0] == 202


async def test_the_door_lets_everybody_on_whom_it_does_not_know(busy: Desk) -> None:
    wire = Wire(busy)
    await wire.answer(busy.key)
    assert (await wire.answer("wrong"))[0] == 401
    key = await busy.give("globex", plans={"orders": "enterprise"})
    assert (await wire.answer(key))[0] == 202
    assert (await wire.answer(busy.key, "/ordersandmore"))[0] == 404


async def test_a_token_that_stood_beside_a_key_turns_no_other_key_away(busy: Desk) -> None:
    jwt = Jwt(issuer="https://issuer.example", audiences=("apx",), jwks_url="https://issuer.example/keys")
    plans = busy.products["orders"].plans
    changed = release("orders", spec(auth=Auth(jwt=jwt)), plans)
    busy.products["orders"] = LiveProduct(changed, busy.policy)
    busy.serve_products()
    token = "authorization: Bearer the.same.token\r\nx-apx-jwt-payload: e30\r\n"
    await Wire(busy, token).answer(busy.key)
    assert at_once(Wire(busy, token), busy.key)
    key = await busy.give("globex", plans={"orders": "enterprise"})
    assert (await Wire(busy, token).answer(key))[0] == 202


async def test_the_door_forgets_in_time_and_with_each_change_of_what_is_live(busy: Desk) -> None:
    await Wire(busy).answer(busy.key)
    assert at_once(Wire(busy), busy.key)
    busy.clock.advance(REMEMBERED_S)
    assert not at_once(Wire(busy), busy.key)
    await Wire(busy).answer(busy.key)
    busy.serve_products()
    assert not at_once(Wire(busy), busy.key)


async def test_a_revoked_key_is_told_of_the_work_no_longer_than_the_door_remembers(busy: Desk) -> None:
    wire = Wire(busy)
    await wire.answer(busy.key)
    record = await busy.identity.identify(busy.key)
    assert record is not None
    await busy.keys.revoke(record.id)
    busy.identity._forget("")  # noqa: SLF001 -- the feed of changes, which nobody follows here
    busy.clock.advance(REMEMBERED_S)
    assert (await wire.answer(busy.key))[0] == 401


async def test_what_arrives_in_one_moment_counts_before_it_begins(desk: Desk) -> None:
    """Else all that one look at the sockets brings would pass the door, and be turned away behind it."""
    wires = [Wire(desk) for _ in range(3)]
    fill(desk, FREE)
    await wires[0].answer(desk.key)
    desk.shedder.leave(FREE)
    for wire in wires:
        wire.got = b""
        wire.send(desk.key)
    assert [bool(wire.got) for wire in wires] == [False, True, True]
