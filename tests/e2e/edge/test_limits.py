from __future__ import annotations

import json
import socket
import time
import uuid

import httpx
import psutil
import pytest

from tests.e2e.edge.raw import request, send
from tests.e2e.edge.world import World, until

pytestmark = pytest.mark.e2e
GOOD = {"x-api-key": "good"}


def test_too_large_headers_get_431(edge: World) -> None:
    answer = send(edge.settings.edge_port, request("GET /orders HTTP/1.1", f"X-A: {'a' * 70_000}"), wait_s=2)
    assert answer.statuses == [431]
    assert b'"headers-too-large"' in answer.raw
    assert not edge.router.seen


def test_too_many_headers_get_431(edge: World) -> None:
    answer = edge.call("GET", "/orders", headers={f"x-{n}": "a" for n in range(200)})
    assert (answer.status_code, answer.json()["code"]) == (431, "headers-too-large")


@pytest.mark.parametrize("path", ["/orders", "/forecast/paris"])
def test_a_declared_length_over_the_edges_limit_gets_413(edge: World, path: str) -> None:
    most = edge.settings.edge_max_body_bytes
    answer = send(edge.settings.edge_port, request(f"POST {path} HTTP/1.1", f"Content-Length: {most + 1}"))
    assert answer.statuses == [413]
    assert b'"body-too-large"' in answer.raw
    assert not edge.router.seen


@pytest.mark.parametrize("size", [101, 100_000])
def test_a_body_over_its_routes_limit_gets_413_before_admission(edge: World, size: int) -> None:
    answer = edge.call("POST", "/forecast/small", headers=GOOD, content=b"a" * size)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert not edge.router.seen


def test_a_body_without_a_length_is_counted_as_it_comes(edge: World) -> None:
    answer = edge.call("POST", "/forecast/small", headers=GOOD, content=iter([b"a" * 50_000] * 20))
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert not edge.router.seen


@pytest.mark.parametrize(
    ("path", "size"), [("/forecast/small", 100), ("/forecast/large", 1_048_576), ("/orders", 3_000_000)]
)
def test_a_body_within_the_limit_passes_whole(edge: World, path: str, size: int) -> None:
    assert edge.call("POST", path, headers=GOOD, content=b"a" * size).status_code in {200, 202}
    assert len((edge.backend.seen or edge.router.seen)[0].body) == size


def test_slow_headers_are_cut_off(edge: World) -> None:
    answer = send(edge.settings.edge_port, b"GET /orders HTTP/1.1\r\nHost: edge\r\nX-A: ", wait_s=5)
    assert answer.statuses == [408]
    assert answer.after_s < 3


def test_a_slow_body_is_cut_off(edge: World) -> None:
    slow = request("POST /orders HTTP/1.1", "Content-Length: 100", body=b"a")
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", edge.settings.edge_port), timeout=5) as connection:
        connection.sendall(slow)
        answer = connection.recv(65_536)
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b'"request-timeout"' in answer
    assert time.monotonic() - started < 4


def test_the_admin_interface_is_a_private_socket_and_nothing_else(edge: World) -> None:
    assert edge.settings.admin_path.stat().st_mode & 0o777 == 0o600
    listening = _ports_of(edge.envoy.pid)
    assert listening == {edge.settings.edge_port}
    for path in ("/stats", "/config_dump", "/clusters", "/quitquitquit", "/server_info"):
        assert edge.call("GET", path).headers["x-from"] == "router"


def test_each_answer_names_its_request_and_no_client_chooses_the_name(edge: World) -> None:
    first, second = (edge.call("GET", "/orders", headers={"x-request-id": "mine"}) for _ in range(2))
    names = {first.headers["x-request-id"], second.headers["x-request-id"]}
    assert len(names) == 2
    assert "mine" not in names
    assert names == {seen.header("x-request-id") for seen in edge.router.seen}


def test_a_problem_of_the_edge_names_its_request(edge: World) -> None:
    answer = edge.call("GET", "/-/x")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("line", ["FOO /orders HTTP/1.1", "GET /orders HTTP/1.0"])
def test_what_is_refused_before_its_fields_are_read_is_named_too(edge: World, line: str) -> None:
    answer = send(edge.settings.edge_port, request(line, "Connection: close"))
    head, _, body = answer.raw.partition(b"\r\n\r\n")
    name = json.loads(body)["request_id"]
    assert f"x-request-id: {uuid.UUID(name)}".encode() in head
    until(lambda: name in edge.said())


FORGED = [
    "x-apx-jwt-payload",
    "x-apx-org",
    "X-APX-Anything",
    "x-envoy-external-address",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-original-path",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "x-real-ip",
    "x-original-url",
]


@pytest.mark.parametrize("name", FORGED)
def test_what_a_client_may_not_say_is_heard_by_nobody(edge: World, name: str) -> None:
    assert edge.call("GET", "/forecast/paris", headers=GOOD | {name: "forged-203.0.113.9"}).status_code == 200
    edge.call("GET", "/orders", headers={name: "forged-203.0.113.9"})
    heard = [value for seen in (*edge.router.seen, *edge.backend.seen) for _, value in seen.headers]
    assert not [value for value in heard if "forged" in value]


def test_a_header_named_by_connection_does_not_hide_ours(edge: World) -> None:
    named = "Connection: close, x-request-id, x-envoy-external-address"
    send(edge.settings.edge_port, request("GET /orders HTTP/1.1", named))
    assert [s.header("x-envoy-external-address") for s in edge.router.seen] in ([], ["127.0.0.1"])


def test_the_log_holds_no_credential_and_no_query(edge: World) -> None:
    edge.call("GET", "/forecast/paris?token=canary-query", headers=GOOD | {"authorization": "Bearer canary-bearer"})
    edge.call("GET", "/forecast/stall?token=canary-query", headers={"x-api-key": "crash", "cookie": "canary-cookie"})
    until(lambda: '"path":"/forecast/stall"' in edge.said())
    assert "canary" not in edge.said()
    assert '"org":"acme"' in edge.said()


def test_the_edge_logs_what_it_refuses_itself(edge: World) -> None:
    names = [edge.call("GET", path).headers["x-request-id"] for path in ("/-/refused", "/payslips/refused")]
    until(lambda: all(name in edge.said() for name in names))


def test_events_come_as_they_are_written(edge: World) -> None:
    with httpx.stream("GET", f"{edge.url}/stream/events", headers=GOOD, trust_env=False) as answer:
        arrivals = [time.monotonic() for line in answer.iter_lines() if line]
    assert len(arrivals) == 3
    assert arrivals[-1] - arrivals[0] > 0.2


@pytest.mark.parametrize("path", ["/stream/socket", "/forecast/socket"])
def test_a_websocket_is_opened_after_admission(edge: World, path: str) -> None:
    with _upgrade(edge, path, "good") as connection:
        assert b" 101 " in connection.recv(4096).split(b"\r\n")[0]
        connection.sendall(b"\x81\x85\x00\x00\x00\x00hello")
        assert connection.recv(100).endswith(b"echo hello")
    assert edge.router.seen[0].target == f"/-/admit{path}"


def test_a_websocket_that_is_not_admitted_is_not_opened(edge: World) -> None:
    with _upgrade(edge, "/stream/socket", "deny") as connection:
        assert b" 403 " in connection.recv(4096).split(b"\r\n")[0]
    assert not edge.backend.seen


def _upgrade(edge: World, path: str, key: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", edge.settings.edge_port), timeout=5)
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"X-Api-Key: {key}")
    connection.sendall(request(f"GET {path} HTTP/1.1", *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
    return connection


def _ports_of(pid: int) -> set[int]:
    found = psutil.Process(pid).net_connections(kind="tcp")
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}
