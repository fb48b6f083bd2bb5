from __future__ import annotations

import pytest

from tests.e2e.edge.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    RESET,
    Fields,
    frame,
    get,
    headers,
    talk,
)
from tests.e2e.edge.world import World

pytestmark = pytest.mark.e2e

BAD: dict[str, Fields] = {
    "line break in a value": get(b"/orders", (b"x-a", b"a\r\nx-b: c")),
    "NUL in a value": get(b"/orders", (b"x-a", b"a\x00b")),
    "line break in the path": get(b"/orders HTTP/1.1\r\nHost: x\r\n\r\nGET /hidden"),
    "space in the path": get(b"/orders /x"),
    "path without a slash": get(b"orders"),
    "path with two readings": get(b"/orders/..;/x"),
    "no path": get(b""),
    "capitals in a name": get(b"/orders", (b"X-A", b"b")),
    "colon in a name": get(b"/orders", (b"x:a", b"b")),
    "space in a name": get(b"/orders", (b"x a", b"b")),
    "connection": get(b"/orders", (b"connection", b"x-request-id")),
    "transfer-encoding": get(b"/orders", (b"transfer-encoding", b"chunked")),
    "te other than trailers": get(b"/orders", (b"te", b"gzip")),
    "path twice": get(b"/orders", (b":path", b"/x")),
    "method after a field": [*get(b"/orders", (b"x-a", b"b"))[1:], (b":method", b"GET")],
    "unknown pseudo-header": get(b"/orders", (b":scope", b"x")),
    "a length without a body": get(b"/orders", (b"content-length", b"5")),
    "two lengths": get(b"/orders", (b"content-length", b"0"), (b"content-length", b"5")),
    "another host": get(b"/orders", (b"host", b"other"))[:2] + get(b"/orders", (b"host", b"a, b"))[3:],
    "underscore in a name": get(b"/orders", (b"x_api_key", b"b")),
    "CONNECT": [(b":method", b"CONNECT"), (b":authority", b"edge:80")],
    "TRACE": [(b":method", b"TRACE"), *get(b"/orders")[1:]],
}


def test_a_request_over_http2_reaches_the_router(edge: World) -> None:
    kinds, _ = talk(edge.settings.edge_port, headers(1, get(b"/orders")))
    assert {HEADERS, DATA} <= kinds
    assert [seen.target for seen in edge.router.seen] == ["/orders"]


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_request_over_http2_never_reaches_the_router(edge: World, name: str) -> None:
    kinds, closed = talk(edge.settings.edge_port, headers(1, BAD[name]), wait_s=0.2)
    assert closed or kinds & {HEADERS, RESET, GOAWAY}
    assert not edge.router.seen, edge.router.seen


def test_a_body_longer_than_its_length_does_not_pass(edge: World) -> None:
    post = [(b":method", b"POST"), *get(b"/orders", (b"content-length", b"1"))[1:]]
    kinds, _ = talk(edge.settings.edge_port, headers(1, post, END_HEADERS), frame(DATA, 1, 1, b"abc"))
    assert RESET in kinds or GOAWAY in kinds
    assert not [seen for seen in edge.router.seen if len(seen.body) > 1]


def test_a_client_that_resets_as_fast_as_it_asks_is_cut_off(edge: World) -> None:
    cancel = (8).to_bytes(4, "big")
    frames = [headers(n, get(b"/orders")) + frame(RESET, 0, n, cancel) for n in range(1, 2001, 2)]
    kinds, closed = talk(edge.settings.edge_port, *frames, wait_s=2)
    assert closed or GOAWAY in kinds
    assert len(edge.router.seen) < 1000
    assert edge.call("GET", "/healthz").status_code == 202


def test_headers_without_an_end_are_cut_off(edge: World) -> None:
    endless = [frame(CONTINUATION, 0, 1, b"\x00\x03x-a\x7f\x80\x7d" + b"a" * 16_127) for _ in range(20)]
    kinds, closed = talk(edge.settings.edge_port, headers(1, get(b"/orders"), 0), *endless, wait_s=2)
    assert closed or kinds & {GOAWAY, RESET, HEADERS}
    assert not edge.router.seen
