"""What a key's terms do to a request, and what its end does to an answer that is open."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apx.admission.keys import KeyRecord, mint, sha256_of
from apx.catalog.model import Route
from tests.unit.admission.until import until
from tests.unit.router.desk import Answer, Desk

HOME, ELSEWHERE = "203.0.113.9", "198.51.100.9"
ALLOWLIST = ("203.0.113.0/24",)


async def sent(desk: Desk, key: str, method: str = "POST", path: str = "/orders", address: str = HOME) -> Answer:
    headers = {"x-api-key": key, "x-envoy-external-address": address}
    return await desk.ask(method, path, headers, body=b"{}")


def told(answer: Answer) -> tuple[Any, ...]:
    """Return all that an answer tells a stranger."""
    return answer.status, answer.body, sorted(answer.headers.items())


async def test_unknown_revoked_and_expired_keys_get_the_same_answer(desk: Desk) -> None:
    now_ms = int(desk.clock.time() * 1000)
    revoked = await desk.give("acme", id="key_r")
    await desk.keys.revoke("key_r")
    keys = {
        "unknown": mint("test", secrets.token_bytes),
        "revoked": revoked,
        "expired": await desk.give("acme", expires_ms=now_ms),
        "replaced": await desk.give("acme", expires_ms=now_ms, replaced_by="key_2"),
        "expired, and elsewhere": await desk.give("acme", expires_ms=now_ms, allowlist=("192.0.2.0/24",)),
        "another environment": desk.key.replace("apx_test_", "apx_live_"),
        "a wrong checksum": desk.key[:-1] + ("0" if desk.key[-1] != "0" else "1"),
        "a megabyte": "x" * 1_000_000,
        "no ASCII": desk.key + "\xe9",
        "none": "",
    }
    answers = {why: told(await sent(desk, key)) for why, key in keys.items()}
    assert answers["unknown"][0] == 401
    assert [why for why, answer in answers.items() if answer != answers["unknown"]] == []


async def test_a_key_is_good_until_it_expires(desk: Desk) -> None:
    key = await desk.give("acme", expires_ms=int(desk.clock.time() * 1000) + 1000)
    assert (await sent(desk, key)).status == 202
    desk.clock.advance(1)
    assert (await sent(desk, key)).code == "unauthenticated"


@pytest.mark.parametrize("path", ["/orders", "/-/admit/files/a", "/v1/requests/req_x"])
async def test_a_key_is_refused_from_elsewhere(desk: Desk, path: str) -> None:
    key = await desk.give("acme", allowlist=ALLOWLIST)
    for address in (ELSEWHERE, "", f"{HOME}, {ELSEWHERE}"):
        answer = await sent(desk, key, "GET", path, address)
        assert (answer.status, answer.code) == (403, "address-not-allowed")
    assert (await sent(desk, key, "GET", path)).status in (200, 202, 404)


async def test_a_client_cannot_say_where_it_is(desk: Desk) -> None:
    key = await desk.give("acme", allowlist=ALLOWLIST)
    claimed = {"x-forwarded-for": HOME, "x-real-ip": HOME, "forwarded": f"for={HOME}", "client-ip": HOME}
    answer = await desk.ask("POST", "/orders", {"x-api-key": key, "x-envoy-external-address": ELSEWHERE, **claimed})
    assert answer.code == "address-not-allowed"


async def test_the_body_of_a_key_from_elsewhere_is_not_read(desk: Desk) -> None:
    async def receive() -> Any:
        raise AssertionError("it was read")

    key = await desk.give("acme", allowlist=ALLOWLIST)
    answer = await desk.ask("POST", "/orders", {"x-api-key": key}, receive=receive)
    assert answer.code == "address-not-allowed"


SCOPED = {
    "a method that is named": ("POST", "/orders", {"orders": ("POST",)}, "202"),
    "a method that is not named": ("POST", "/orders", {"orders": ("GET",)}, "insufficient-scope"),
    "a product without methods": ("POST", "/orders", {"orders": ()}, "202"),
    "a product that is not named": ("POST", "/orders", {"files": ()}, "insufficient-scope"),
    "a synchronous one that is named": ("GET", "/-/admit/files/a", {"files": ("GET",)}, "200"),
    "a synchronous one that is not": ("DELETE", "/-/admit/files/a", {"files": ("GET",)}, "insufficient-scope"),
    "a method that the route does not take": ("PUT", "/orders", {"orders": ("GET",)}, "method-not-allowed"),
}


@pytest.mark.parametrize(("method", "path", "scopes", "answered"), SCOPED.values(), ids=SCOPED.keys())
async def test_a_key_does_what_its_scope_names(
    desk: Desk, method: str, path: str, scopes: dict[str, tuple[str, ...]], answered: str
) -> None:
    key = await desk.give("acme", scopes=scopes)
    answer = await sent(desk, key, method, path)
    assert answered == (answer.code if answer.status in (403, 405) else str(answer.status))


async def test_a_request_is_seen_and_cancelled_within_the_scope_of_its_product(desk: Desk) -> None:
    place = f"/v1/requests/{await desk.accepted()}"
    reader = await desk.give("acme", scopes={"orders": ("GET",)})
    other = await desk.give("acme", scopes={"files": ()})
    writer = await desk.give("acme", scopes={"orders": ("POST",)})
    assert [(await sent(desk, key, "GET", place)).status for key in (reader, other, writer)] == [200, 403, 200]
    assert [(await sent(desk, key, "DELETE", place)).status for key in (reader, other, writer)] == [403, 403, 200]


async def test_a_scope_tells_nothing_of_another_orgs_requests(desk: Desk) -> None:
    place = f"/v1/requests/{await desk.accepted()}"
    stranger = await desk.give("globex", scopes={"files": ()})
    assert (await sent(desk, stranger, "GET", place)).code == "not-found"


async def test_a_key_may_stand_in_one_place_only(desk: Desk) -> None:
    pair = (b"x-api-key", desk.key.encode())
    twice = await desk.ask("POST", "/orders", headers=[pair, pair])  # type: ignore[arg-type]
    assert (twice.status, twice.code) == (400, "header-repeated")
    assert (await desk.ask("GET", "/orders", query=f"key={desk.key}")).status == 401


@pytest.fixture
async def following(desk: Desk) -> AsyncIterator[None]:
    task = asyncio.ensure_future(desk.identity.follow())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


FOREIGN = "sk_live_51H8abc"


@pytest.fixture
async def imported(desk: Desk, following: None) -> str:
    del following
    await desk.keys.declare("sk_live_")
    await desk.keys.put(
        KeyRecord(
            id="key_f",
            sha256=sha256_of(FOREIGN),
            org="acme",
            region="eu",
            plans={"orders": "free"},
            created_ms=0,
            prefix="sk_live_",
        )
    )
    await until(lambda: isinstance(desk.identity.recent(FOREIGN), str))
    return FOREIGN


async def test_an_imported_key_is_a_key(desk: Desk, imported: str) -> None:
    assert (await sent(desk, imported)).status == 202
    assert (await desk.ask("POST", "/orders", {"authorization": f"Bearer {imported}"}, body=b"{}")).status == 202
    assert (await desk.ask("GET", "/orders", {"x-api-key": imported}, query=f"k={imported}")).status == 401


async def _open(desk: Desk, key: str, path: str, **headers: str) -> asyncio.Task[Answer]:
    method = "POST" if path == "/orders" else "GET"
    asked = asyncio.ensure_future(desk.ask(method, path, {"x-api-key": key, **headers}, body=b"{}"))
    await until(lambda: bool(desk.identity._open))  # noqa: SLF001 -- nothing outside shows that an answer is open
    return asked


@pytest.mark.usefixtures("following")
async def test_a_stream_ends_with_a_problem_when_its_key_is_revoked(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"/v1/requests/{await desk.accepted()}/events"
    key = await desk.give("acme", id="key_r")
    asked = await _open(desk, key, place)
    await desk.keys.revoke("key_r")
    async with asyncio.timeout(1):
        answer = await asked
    last = answer.body.decode().rstrip("\n").split("\n")[-2:]
    assert (answer.status, answer.complete, last[0]) == (200, True, "event: problem")
    problem = json.loads(last[1].removeprefix("data: "))
    assert (problem["status"], problem["code"]) == (401, "unauthenticated")
    assert "crashed" not in capsys.readouterr().out


@pytest.mark.usefixtures("following")
@pytest.mark.parametrize("path", ["", "/result", "/orders"])
async def test_a_wait_ends_when_its_key_is_revoked(desk: Desk, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def long(_: str, __: float) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(desk.results, "wait", long)
    place = path if path == "/orders" else f"/v1/requests/{await desk.accepted()}{path}"
    key = await desk.give("acme", id="key_r")
    asked = await _open(desk, key, place, prefer="wait=30")
    await desk.keys.revoke("key_r")
    async with asyncio.timeout(1):
        answer = await asked
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="apx"'


@pytest.mark.usefixtures("following")
async def test_the_end_of_one_key_ends_no_answer_of_another(desk: Desk) -> None:
    place = f"/v1/requests/{await desk.accepted()}/events"
    await desk.give("acme", id="key_r")
    asked = await _open(desk, desk.key, place)
    await desk.keys.revoke("key_r")
    await asyncio.sleep(0.05)
    assert not asked.done()
    await desk.finish()
    async with asyncio.timeout(5):
        answer = await asked
    assert b"event: problem" not in answer.body


async def test_without_terms_routes_are_as_before(desk: Desk) -> None:
    desk.serve(routes=(Route(path="/", methods=("POST",)),))
    assert (await sent(desk, desk.key, address="")).status == 202
