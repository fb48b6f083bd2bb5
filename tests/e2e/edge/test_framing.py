"""Two parsers that disagree are one request too many: whatever has two readings never reaches the router."""

from __future__ import annotations

import pytest

from tests.e2e.edge.raw import request, send
from tests.e2e.edge.world import World

pytestmark = pytest.mark.e2e

POST = "POST /orders HTTP/1.1"
HIDDEN = b"GET /orders/hidden HTTP/1.1\r\nHost: edge\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"

ATTACKS = {
    "length and chunks": request(POST, "Content-Length: 5", CHUNKED, body=END + HIDDEN),
    "chunks and length": request(POST, CHUNKED, "Content-Length: 5", body=END + HIDDEN),
    "two lengths": request(POST, "Content-Length: 0", f"Content-Length: {len(HIDDEN)}", body=HIDDEN),
    "two lengths in one": request(POST, f"Content-Length: 0, {len(HIDDEN)}", body=HIDDEN),
    "two equal lengths": request(POST, "Content-Length: 1", "Content-Length: 1", body=b"a"),
    "signed length": request(POST, "Content-Length: +5", body=b"abcde"),
    "negative length": request(POST, "Content-Length: -1"),
    "hexadecimal length": request(POST, "Content-Length: 0x5", body=b"abcde"),
    "length with a line": request(POST, "Content-Length: 0_5", body=b"abcde"),
    "length with a space": request(POST, "Content-Length: 1 0", body=b"abcde"),
    "length too long": request(POST, "Content-Length: 99999999999999999999", body=b"abcde"),
    "empty length": request(POST, "Content-Length:", body=b"abcde"),
    "unknown coding": request(POST, "Transfer-Encoding: gzip, chunked", body=END + HIDDEN),
    "chunked twice": request(POST, CHUNKED, CHUNKED, body=END + HIDDEN),
    "chunked not last": request(POST, "Transfer-Encoding: chunked, identity", body=END + HIDDEN),
    "xchunked": request(POST, "Transfer-Encoding: xchunked", body=END + HIDDEN),
    "coding with a vertical tab": request(POST, "Transfer-Encoding: \x0bchunked", body=END + HIDDEN),
    "coding with a NUL": request(POST, "Transfer-Encoding: chunked\x00", body=END + HIDDEN),
    "space before the colon": request(POST, "Transfer-Encoding : chunked", body=END + HIDDEN),
    "length with a space before the colon": request(POST, "Content-Length : 5", body=b"abcde"),
    "first header indented": request(POST, " X-A: b", host=" Host: edge"),
    "bad chunk size": request(POST, CHUNKED, body=b"zz\r\nab\r\n" + END),
    "signed chunk size": request(POST, CHUNKED, body=b"+2\r\nab\r\n" + END),
    "chunk size in hexadecimal notation": request(POST, CHUNKED, body=b"0x2\r\nab\r\n" + END),
    "chunk size too large": request(POST, CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\nab\r\n" + END),
    "chunk without its end": request(POST, CHUNKED, body=b"2\r\nabcd" + END + HIDDEN),
    "chunk size ended by a bare line feed": request(POST, CHUNKED, body=b"2\nab\r\n" + END),
    "NUL in a value": request(POST, "X-A: a\x00b", "Content-Length: 0"),
    "NUL in a name": request(POST, "X-\x00A: a", "Content-Length: 0"),
    "no name": request(POST, ": a", "Content-Length: 0"),
    "no colon": request(POST, "X-A", "Content-Length: 0"),
    "name with a space": request(POST, "X A: a", "Content-Length: 0"),
    "name with a slash": request(POST, "X/A: a", "Content-Length: 0"),
    "underscore in a name": request(POST, "X_Api_Key: a", "Content-Length: 0"),
    "no host": request(POST, "Content-Length: 0", host=""),
    "two hosts": request(POST, "Host: other", "Content-Length: 0"),
    "two equal hosts": request(POST, "Host: edge", "Content-Length: 0"),
    "host with a list": request(POST, "Content-Length: 0", host="Host: edge, other"),
    "host with a user": request(POST, "Content-Length: 0", host="Host: a@edge"),
    "host with a path": request(POST, "Content-Length: 0", host="Host: edge/x"),
    "no version": b"GET /orders\r\n\r\n",
    "version 1.0": request("GET /orders HTTP/1.0"),
    "version 1.2": request("GET /orders HTTP/1.2"),
    "version 2.0": request("GET /orders HTTP/2.0"),
    "lower-case version": request("GET /orders http/1.1"),
    "space in the target": request("GET /orders /x HTTP/1.1"),
    "method with a control character": request("GE\x01T /orders HTTP/1.1"),
    "unknown method": request("HIDE /orders HTTP/1.1"),
    "TRACE": request("TRACE /orders HTTP/1.1"),
    "CONNECT": request("CONNECT edge:80 HTTP/1.1"),
    "CONNECT with a path": request("CONNECT /orders HTTP/1.1"),
    "websocket to an asynchronous product": request(
        "GET /orders HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket"
    ),
    "TLS on a plain port": bytes.fromhex("16030100a5010000a10303") + b"\x00" * 64,
    "PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + request(POST, "Content-Length: 0"),
}

REPAIRED = {
    "folded coding": request(POST, "Transfer-Encoding:\r\n chunked", body=END),
    "folded header": request(POST, "X-A: b\r\n c", "Content-Length: 0"),
    "bare carriage return in a value": request(POST, "X-A: a\rContent-Length: 5", "Content-Length: 0"),
    "tab for a space": request("GET\t/orders\tHTTP/1.1"),
    "bare line feeds": b"POST /orders HTTP/1.1\nHost: edge\nContent-Length: 0\n\n",
    "h2c upgrade": request(
        "GET /orders HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    ),
}
"""What Envoy reads leniently, in one way, and hands on in the strict form."""


@pytest.mark.parametrize("name", ATTACKS)
def test_a_request_with_two_readings_never_reaches_the_router(edge: World, name: str) -> None:
    answer = send(edge.settings.edge_port, ATTACKS[name], wait_s=0.3)
    assert not edge.router.seen, edge.router.seen
    assert answer.statuses[:1] < [500], answer.raw
    assert len(answer.statuses) <= 1, answer.raw


def test_requests_at_the_edge_are_requests_at_the_router(edge: World) -> None:
    pipelined = b"".join(request("POST /orders HTTP/1.1", "Content-Length: 3", body=b"abc") for _ in range(10))
    answer = send(edge.settings.edge_port, pipelined + request("GET /orders HTTP/1.1", "Connection: close"))
    assert answer.statuses == [202] * 11
    assert [seen.body for seen in edge.router.seen] == [b"abc"] * 10 + [b""]


def test_chunks_reach_the_router_as_one_body(edge: World) -> None:
    body = b"2;name=value\r\nab\r\n1\r\nc\r\n" + END
    answer = send(edge.settings.edge_port, request(POST, CHUNKED, "Connection: close", body=body))
    assert answer.statuses == [202]
    assert [seen.body for seen in edge.router.seen] == [b"abc"]


@pytest.mark.parametrize("name", REPAIRED)
def test_what_is_read_leniently_is_handed_on_in_one_strict_form(edge: World, name: str) -> None:
    answer = send(edge.settings.edge_port, REPAIRED[name], wait_s=0.3)
    assert answer.statuses == [202], answer.raw
    assert [seen.target for seen in edge.router.seen] == ["/orders"]
    assert not [value for _, value in edge.router.seen[0].headers if "\r" in value or "\n" in value]
    assert {"upgrade", "http2-settings"}.isdisjoint(name for name, _ in edge.router.seen[0].headers)
