"""The load generator against a server whose behaviour is known."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.bench import sockets
from tests.bench.load import request

GET = request("GET", "/", {})
STALL_S = 0.3


class Server(socketserver.ThreadingTCPServer):
    """Answers each request on a thread for its connection; once, after a stall that stops all of them."""

    daemon_threads = True
    allow_reuse_address = True
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    stalls_at = -1

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = 0
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Server)
        while self.request.recv(65_536):
            with self.server.lock:
                self.server.seen += 1
                if self.server.seen == self.server.stalls_at:
                    time.sleep(STALL_S)
            self.request.sendall(self.server.answer)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def test_an_open_loop_sends_at_its_rate(server: Server) -> None:
    times = sockets.open_loop(server.port, [GET], connections=4, seconds=0.5, rate=200)
    assert (len(times.latencies), times.failed) == (100, 0)


def test_a_stall_counts_for_every_request_that_was_due_in_it(server: Server) -> None:
    server.stalls_at = 20
    times = sockets.open_loop(server.port, [GET], connections=2, seconds=0.6, rate=200)
    assert sum(latency > STALL_S / 3 for latency in times.latencies) > 20


def test_a_closed_loop_keeps_asking(server: Server) -> None:
    times = sockets.closed_loop(server.port, [GET], connections=4, seconds=0.3)
    assert len(times.latencies) > 20
    assert times.failed == 0


def test_an_answer_that_is_no_success_is_a_failure(server: Server) -> None:
    server.answer = b"HTTP/1.1 429 Too Many\r\ncontent-length: 0\r\n\r\n"
    times = sockets.open_loop(server.port, [GET], connections=8, seconds=0.02, rate=200)
    assert (times.latencies, times.failed, times.statuses) == ([], 4, {429: 4})


def test_a_connection_that_was_refused_an_answer_asks_again(server: Server) -> None:
    server.answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
    times = sockets.open_loop(server.port, [GET], connections=1, seconds=0.1, rate=200)
    assert times.statuses == {503: 20}


def test_what_was_due_while_it_settled_is_not_counted(server: Server) -> None:
    times = sockets.open_loop(server.port, [GET], connections=8, seconds=0.4, rate=200, settle_s=0.2)
    assert len(times.latencies) == 40
    assert times.rate == pytest.approx(200, rel=0.3)


def test_what_is_sent_is_http() -> None:
    assert request("POST", "/orders/", {"x-api-key": "k"}, b"{}") == (
        b"POST /orders/ HTTP/1.1\r\nhost: bench\r\nx-api-key: k\r\ncontent-length: 2\r\n\r\n{}"
    )
