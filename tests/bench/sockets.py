"""HTTP load over plain sockets, in one thread without an event loop: nothing rounds its times.

`closed_loop` sends on a connection as soon as it is answered. `open_loop` sends at fixed moments whatever comes back;
a request that has to wait for a free connection is timed from the moment at which it was due, so that a server that
stalls is not asked less while it does (Gil Tene's "coordinated omission"). A `port` is one of 127.0.0.1, or a Unix
socket.
"""

from __future__ import annotations

import gc
import re
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.bench.row import percentile

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_SUCCESSES = range(200, 400)
_GIVE_UP_S = 10.0


class Times(msgspec.Struct, frozen=True):
    """Seconds from due to answered, in their order, and how many answers were none or no success."""

    latencies: list[float]
    failed: int
    statuses: dict[int, int] = {}
    """Answers by status; 0 where the connection broke."""
    seconds: float = 0.0
    """From when the first of them was due to when the last was answered."""

    @property
    def rate(self) -> float:
        """Return successes a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        return percentile(self.latencies, percent) * 1e3 if self.latencies else 0.0


def _connect(at: int | Path) -> socket.socket:
    if isinstance(at, Path):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_GIVE_UP_S)
        connection.connect(str(at))
        return connection
    connection = socket.create_connection(("127.0.0.1", at), timeout=_GIVE_UP_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class _Connection:
    """A connection with at most one request under way."""

    def __init__(self, at: int | Path) -> None:
        self.socket = _connect(at)
        self.due = 0.0
        self._got = b""

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._got = b""
        self.socket.sendall(request)

    def answered(self) -> int | None:
        """Read what is there: None while more is to come, else the status; 0 when there is no whole answer."""
        piece = self.socket.recv(65_536)
        if not piece:
            return 0
        self._got += piece
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(self._got, 0, end)
        if length is None:
            return 0  # no answer of ours comes in chunks
        return int(self._got[9:12]) if len(self._got) >= end + 4 + int(length[1]) else None


def closed_loop(port: int | Path, requests: Sequence[bytes], *, connections: int, seconds: float) -> Times:
    """Keep every connection busy for some time."""
    return _run(port, requests, connections, seconds, rate=None)


def open_loop(
    port: int | Path, requests: Sequence[bytes], *, connections: int, seconds: float, rate: float, settle_s: float = 0.0
) -> Times:
    """Send `rate` requests a second, evenly spaced; those of the first `settle_s` seconds are not counted."""
    return _run(port, requests, connections, seconds, rate=rate, settle_s=settle_s)


def _run(
    port: int | Path,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    *,
    rate: float | None,
    settle_s: float = 0.0,
) -> Times:
    free = deque(_Connection(port) for _ in range(connections))
    everyone = list(free)
    gc.disable()  # its pauses would be ours, not the server's
    try:
        return _Loop(free, requests, seconds, rate, settle_s).run()
    finally:
        gc.enable()
        for connection in everyone:
            connection.socket.close()


class _Loop:
    def __init__(
        self,
        free: deque[_Connection],
        requests: Sequence[bytes],
        seconds: float,
        rate: float | None,
        settle_s: float,
    ) -> None:
        self._free = free
        self._requests = requests
        self._gap = 1.0 / rate if rate else 0.0
        self._busy: set[_Connection] = set()
        self._selector = selectors.DefaultSelector()
        for connection in free:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._start = time.perf_counter()
        self._end = self._start + seconds
        self._counts_from = self._last = self._start + settle_s
        self._sent = 0
        self._failed = 0
        self._latencies: list[float] = []
        self._statuses: Counter[int] = Counter()

    def run(self) -> Times:
        give_up = self._end + _GIVE_UP_S
        while (now := time.perf_counter()) < give_up:
            wait = self._send_due(now)
            if wait is None and not self._busy:
                break
            self._read(1.0 if wait is None else wait)
        self._selector.close()
        self._latencies.sort()
        return Times(
            self._latencies, self._failed + len(self._busy), dict(self._statuses), self._last - self._counts_from
        )

    def _send_due(self, now: float) -> float | None:
        """Send what is due; return the seconds until the next, or None when all is sent."""
        while True:
            due = self._start + self._sent * self._gap if self._gap else now
            if due >= self._end:
                return None
            if due > now:
                return due - now
            if not self._free:
                return 1.0
            connection = self._free.popleft()
            connection.send(self._requests[self._sent % len(self._requests)], due)
            self._busy.add(connection)
            self._sent += 1

    def _read(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            connection: _Connection = key.data
            status = connection.answered()
            if status is None:
                continue
            if status == 0:
                self._selector.unregister(connection.socket)
            if connection not in self._busy:  # an idle connection that was closed
                self._drop(connection)
                continue
            self._busy.discard(connection)
            if status:
                self._free.append(connection)
            if connection.due >= self._counts_from:
                self._count(status, connection.due)

    def _count(self, status: int, due: float) -> None:
        self._last = time.perf_counter()
        self._statuses[status] += 1
        if status in _SUCCESSES:
            self._latencies.append(self._last - due)
        else:
            self._failed += 1

    def _drop(self, connection: _Connection) -> None:
        if connection in self._free:
            self._free.remove(connection)
