import asyncio
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from apx.clock import ManualClock
from apx.errors import Misconfigured
from apx.telemetry.endpoint import MAX_CONNECTIONS, HealthServer, LoopWatch, serve_health
from apx.telemetry.metrics import EVENT_LOOP_LAG, REGISTRY

Serve = Callable[..., HealthServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[HealthServer] = []

    def start(ready: Callable[[], bool] = lambda: True, watch: LoopWatch | None = None) -> HealthServer:
        servers.append(serve_health(0, ready, REGISTRY, watch=watch))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # our own port
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_metrics_are_served_as_text(serve: Serve) -> None:
    status, body = get(serve(), "/metrics")
    assert status == 200
    assert b"# TYPE apx_admissions_total counter" in body


def test_a_process_is_ready_when_it_says_so(serve: Serve) -> None:
    assert get(serve(lambda: True), "/readyz") == (200, b"ok\n")


def test_a_process_is_not_ready_when_it_says_so(serve: Serve) -> None:
    assert get(serve(lambda: False), "/readyz") == (503, b"no\n")


def test_a_process_that_cannot_say_if_it_is_ready_is_not(serve: Serve) -> None:
    def fail() -> bool:
        raise OSError("store is gone")

    assert get(serve(fail), "/readyz")[0] == 503


def test_a_process_that_is_not_ready_is_healthy(serve: Serve) -> None:
    assert get(serve(lambda: False), "/healthz") == (200, b"ok\n")


def test_other_paths_are_not_found(serve: Serve) -> None:
    assert get(serve(), "/debug")[0] == 404


def test_a_head_request_has_no_body(serve: Serve) -> None:
    assert get(serve(), "/readyz", "HEAD") == (200, b"")


def test_other_methods_are_refused(serve: Serve) -> None:
    assert get(serve(), "/metrics", "POST")[0] == 501


async def test_a_blocked_loop_is_not_ready_and_is_again_when_it_runs(serve: Serve) -> None:
    watch = LoopWatch(limit_s=0.2, interval_s=0.02)
    watch.start()
    server = serve(watch=watch)
    seen: list[int] = []
    probe = threading.Thread(target=lambda: probe_until(server, 503, seen))
    probe.start()
    probe.join(15)  # blocks this loop until the probe has seen it
    await until(lambda: get(server, "/readyz")[0] == 200)
    watch.stop()
    assert seen[-1] == 503


def probe_until(server: HealthServer, status: int, seen: list[int]) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end and status not in seen:
        seen.append(get(server, "/readyz")[0])


async def until(condition: Callable[[], bool]) -> None:
    """Ask from a thread, ten seconds at most, while the loop runs on."""
    for _ in range(1000):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition did not come true in time")


async def test_a_running_loop_has_little_lag() -> None:
    watch = LoopWatch(interval_s=0.01)
    watch.start()
    await asyncio.sleep(0.1)
    lag_s = watch.lag_s()
    watch.stop()
    assert lag_s < 2.0


async def test_the_lag_is_how_long_the_loop_is_overdue() -> None:
    clock = ManualClock()
    watch = LoopWatch(interval_s=0.25, clock=clock)
    watch.start()
    clock.advance(1.25)
    lag_s = watch.lag_s()
    watch.stop()
    assert lag_s == 1.0


async def test_a_short_block_stays_in_the_gauge_for_the_next_scrape() -> None:
    clock = ManualClock()
    watch = LoopWatch(interval_s=0.01, clock=clock)
    watch.start()
    clock.advance(0.51)
    await until(lambda: watch.lag_s() < 0.1)
    shown = EVENT_LOOP_LAG.value()
    watch.stop()
    assert shown == pytest.approx(0.5)


async def test_a_loop_that_stood_for_a_minute_is_not_healthy(serve: Serve) -> None:
    clock = ManualClock()
    watch = LoopWatch(clock=clock)
    watch.start()
    server = serve(watch=watch)
    clock.advance(61)
    status, _ = get(server, "/healthz")  # blocks the loop, so that it cannot tick
    watch.stop()
    assert status == 503


def test_a_client_that_says_nothing_does_not_keep_others_out(serve: Serve) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/healthz")[0] == 200


def test_connections_beyond_the_bound_are_closed_and_those_after_served(serve: Serve) -> None:
    server = serve()
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(MAX_CONNECTIONS)]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as more:
        assert more.recv(1) == b""
    for connection in held:
        connection.close()
    end = time.monotonic() + 10
    while not healthy(server):
        assert time.monotonic() < end


def healthy(server: HealthServer) -> bool:
    try:
        return get(server, "/healthz")[0] == 200
    except OSError:
        return False


def test_a_taken_port_is_named(serve: Serve) -> None:
    with pytest.raises(Misconfigured, match=r"cannot serve health on 127\.0\.0\.1:"):
        serve_health(serve().port, lambda: True)


def test_a_closed_server_frees_its_port() -> None:
    server = serve_health(0, lambda: True)
    server.close()
    serve_health(server.port, lambda: True).close()
