from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from apx.local.drain import drain_edge


class Admin(socketserver.ThreadingUnixStreamServer):
    """Envoy's admin interface, with so many requests under way, one fewer each time it is asked."""

    def __init__(self, path: Path, active: list[int]) -> None:
        super().__init__(str(path), Handler)
        self.active = active
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Admin

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        self._say("OK\n")

    def do_GET(self) -> None:
        active = self.server.active.pop(0) if len(self.server.active) > 1 else self.server.active[0]
        self._say(f"http.edge.downstream_rq_active: {active}\n")

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _say(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def admin(home: Path) -> Iterator[Admin]:
    with Admin(home / "admin.sock", [0]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=5)


def test_waits_for_the_requests_under_way(admin: Admin, home: Path) -> None:
    admin.active = [2, 1, 0]
    assert drain_edge(home / "admin.sock", within_s=5)
    assert admin.active == [0]
    assert admin.asked == ["/drain_listeners"]


def test_gives_up_on_requests_that_do_not_end(admin: Admin, home: Path) -> None:
    admin.active = [1]
    assert not drain_edge(home / "admin.sock", within_s=0.1)


def test_an_envoy_that_is_not_there_has_nothing_under_way(home: Path) -> None:
    assert drain_edge(home / "admin.sock", within_s=5)
