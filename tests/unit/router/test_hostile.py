"""Whatever a client sends, the router answers: never an error of ours for a mistake of theirs."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.router.desk import Answer, Desk, ask

NAMES = [
    "authorization",
    "x-api-key",
    "prefer",
    "idempotency-key",
    "content-type",
    "content-length",
    "connection",
    "traceparent",
    "x-request-id",
    "last-event-id",
    "x-apx-jwt-payload",
    "host",
    "",
]
_bytes = st.binary(max_size=40)
_values = _bytes | st.sampled_from(
    [b"Bearer ", b"wait=1", b"a, b", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b'"']
)
_headers = st.lists(st.tuples(st.sampled_from(NAMES).map(str.encode) | _bytes.map(bytes.lower), _values), max_size=8)
_segments = st.sampled_from(
    ["orders", "files", "v1", "requests", "-", "admit", "..", ".", "%2e", "%", ";", "ID", "KEY"]
)
_paths = st.lists(_segments | st.text(max_size=5), max_size=5).map(lambda parts: "/" + "/".join(parts)) | st.text()
_methods = st.sampled_from(["GET", "POST", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH"]) | st.text(max_size=5)
_bodies = st.lists(_bytes, min_size=1, max_size=3)
MAY_BE_503 = {"product-moving"}


class Room:
    """One desk and one loop for all examples: a test of hypothesis has no fixtures of its own."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.desk = Desk(folder)
        self.loop.run_until_complete(self.desk.open())
        self.request_id = self.loop.run_until_complete(self.desk.accepted())

    def ask(self, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]], body: list[bytes]) -> Answer:
        path = path.replace("ID", self.request_id).replace("KEY", self.desk.key)
        path, query = (text.encode("utf-8", "replace").decode("latin-1") for text in (path, query))

        async def bounded() -> Answer:
            self.desk.policy.shown.clear()
            async with asyncio.timeout(10):
                return await ask(self.desk.router, method, path, headers=headers, body=list(body), query=query)

        return self.loop.run_until_complete(bounded())


@pytest.fixture(scope="module")
def room() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder))
        yield room
        room.loop.close()


def check(answer: Answer, method: str) -> None:
    assert 200 <= answer.status < 600
    assert answer.complete
    if answer.status >= 400 and method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"code", "request_id"} <= answer.json.keys()
    if answer.status >= 500:
        assert answer.json["code"] in MAY_BE_503


bounded = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@bounded
@given(_methods, _paths, st.text(max_size=30), _headers)
def test_strangers_never_make_it_fail(
    room: Room, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]]
) -> None:
    check(room.ask(method, path, query, headers, [b"a", b"b"]), method)


@bounded
@given(_methods.filter(lambda method: method != "GET"), _paths, _headers, _bodies)
def test_callers_with_a_key_never_make_it_fail(
    room: Room, method: str, path: str, headers: list[tuple[bytes, bytes]], body: list[bytes]
) -> None:
    known = [(b"x-api-key", room.desk.key.encode())]
    harmless = [pair for pair in headers if pair[0] not in (b"x-api-key", b"prefer")]
    check(room.ask(method, path, "", known + harmless, body), method)


@bounded
@given(_headers, st.text(max_size=30), _bodies)
def test_odd_fields_on_a_good_call_never_make_it_fail(
    room: Room, headers: list[tuple[bytes, bytes]], query: str, body: list[bytes]
) -> None:
    known = [(b"x-api-key", room.desk.key.encode())]
    harmless = [pair for pair in headers if pair[0] not in (b"x-api-key", b"prefer", b"authorization")]
    check(room.ask("POST", "/orders", query, known + harmless, body), "POST")


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_another_kind_of_connection_is_not_answered(desk: Desk, kind: str) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("it was answered")

    await desk.router({"type": kind}, never, never)
