"""`/metrics`, `/healthz` and `/readyz` of one process, served from a thread of its own.

A thread, so that an event loop that is blocked can be seen to be: `LoopWatch` measures how late the loop runs, and
`/readyz` says 503 while that is over its limit. `/healthz` says 503 only when the loop has stood for a minute.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from apx.clock import Clock, SystemClock
from apx.errors import Misconfigured
from apx.telemetry.metrics import EVENT_LOOP_LAG, REGISTRY

MAX_CONNECTIONS = 16
_REQUEST_TIMEOUT_S = 5.0


class LoopWatch:
    """How late an event loop runs. `limit_s`: not ready above it; `dead_s`: not healthy above it."""

    def __init__(
        self, *, limit_s: float = 2.0, dead_s: float = 60.0, interval_s: float = 0.25, clock: Clock | None = None
    ) -> None:
        self.limit_s = limit_s
        self.dead_s = dead_s
        self._interval_s = interval_s
        self._clock = clock or SystemClock()
        self._due_s: float | None = None
        self._recent: deque[float] = deque([0.0], maxlen=int(15 / interval_s))
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch the running loop."""
        EVENT_LOOP_LAG.read(self.worst_s)
        self._next(asyncio.get_running_loop())

    def stop(self) -> None:
        """Stop watching; the lag is 0 from now on."""
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = self._timer = None
        self._recent.clear()

    def lag_s(self) -> float:
        """Return how late the loop is now. For any thread."""
        due_s = self._due_s
        return 0.0 if due_s is None else max(0.0, self._clock.monotonic() - due_s)

    def worst_s(self) -> float:
        """Return the worst of the last 15 seconds, the present included. For any thread."""
        return max([self.lag_s(), *self._recent.copy()])

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_s = self._clock.monotonic() + self._interval_s
        self._timer = loop.call_later(self._interval_s, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._recent.append(self.lag_s())
        self._next(loop)


class HealthServer(ThreadingHTTPServer):
    """The server behind `serve_health`."""

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(
        self,
        address: tuple[str, int],
        ready: Callable[[], bool],
        registry: CollectorRegistry,
        watch: LoopWatch | None,
    ) -> None:
        self._room = threading.Semaphore(MAX_CONNECTIONS)
        self._ready = ready
        self._registry = registry
        self._watch = watch
        super().__init__(address, _Handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def close(self) -> None:
        """Stop, and free the port."""
        self.shutdown()
        self.server_close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a path."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/healthz":
            return _said(self._watch is None or self._watch.lag_s() <= self._watch.dead_s)
        if path == "/readyz":
            return _said((self._watch is None or self._watch.lag_s() <= self._watch.limit_s) and self._asked())
        return 404, "text/plain", b"not found\n"

    def _asked(self) -> bool:
        try:
            return self._ready()
        except Exception:  # noqa: BLE001  # a process that cannot say if it is ready is not
            return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection in a thread of its own, while there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a prober that hangs up is no news."""


def serve_health(
    port: int,
    ready: Callable[[], bool],
    registry: CollectorRegistry = REGISTRY,
    *,
    host: str = "127.0.0.1",
    watch: LoopWatch | None = None,
) -> HealthServer:
    """Serve until `close`. `ready` is called from the server's threads. Port 0: a free one. Raises `Misconfigured`."""
    try:
        server = HealthServer((host, port), ready, registry, watch)
    except (OSError, OverflowError) as error:
        raise Misconfigured(f"cannot serve health on {host}:{port}: {error}") from error
    threading.Thread(target=server.serve_forever, args=(0.1,), name="apx-health", daemon=True).start()
    return server


@contextmanager
def health(port: int | None, ready: Callable[[], bool], *, host: str) -> Iterator[LoopWatch]:
    """Watch the running loop, and serve health and metrics meanwhile; without a port nothing is served."""
    watch = LoopWatch()
    watch.start()
    server = None if port is None else serve_health(port, ready, host=host, watch=watch)
    try:
        yield watch
    finally:
        if server is not None:
            server.close()
        watch.stop()


def _said(yes: bool) -> tuple[int, str, bytes]:  # noqa: FBT001  # the answer is the argument
    return (200, "text/plain", b"ok\n") if yes else (503, "text/plain", b"no\n")


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_TIMEOUT_S
    server: HealthServer

    def do_GET(self) -> None:
        """Answer, and close."""
        status, kind, body = self.server.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self.do_GET()

    def version_string(self) -> str:
        """Name no library and no version."""
        return "apx"

    def log_message(self, *_: Any) -> None:
        """Say nothing: probes come every few seconds."""
