"""A buffered writer of lines that never blocks and never raises: what cannot be written is dropped and counted.

`write` puts the line into a queue; a thread of its own gathers lines for 20 ms and writes them at once. A reader that
stalls fills the queue, a full disk fails the write: both cost log lines, never a request.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections import deque

from apx.telemetry.metrics import LOG_LINES_DROPPED

_GATHER_S = 0.02


class LineWriter:
    """Writes to a file descriptor. `max_bytes` bounds what waits."""

    def __init__(self, fd: int, *, max_bytes: int = 4 << 20) -> None:
        self._fd = fd
        self._max_bytes = max_bytes
        self._closed = False
        self._torn = False
        """The last write ended inside a line."""
        self._start()
        again = weakref.WeakMethod(self._start)
        os.register_at_fork(after_in_child=lambda: (start := again()) and start())

    def write(self, line: bytes) -> None:
        """Queue one line, which ends with a newline."""
        if self._held_bytes + len(line) > self._max_bytes:
            LOG_LINES_DROPPED.inc("full")
            return
        self._held_bytes += len(line)
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout_s: float = 1.0) -> bool:
        """Wait until all that is queued has been written or dropped; False when that takes longer."""
        end = time.monotonic() + timeout_s
        while self._held_bytes and time.monotonic() < end:
            self._hurry.set()
            self._wake.set()
            time.sleep(0.002)
        return not self._held_bytes

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is queued, for at most this time, and end the thread; later lines are dropped unseen."""
        self.flush(timeout_s)
        self._closed = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _start(self) -> None:
        if self._closed:
            return
        self._lines: deque[bytes] = deque()
        self._held_bytes = 0
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="apx-log-lines", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._hurry.wait(_GATHER_S)
            self._hurry.clear()
            self._wake.clear()  # before draining: a line that comes now wakes this thread again
            while self._lines:
                self._put(self._batch())

    def _batch(self) -> bytes:
        take = self._lines.popleft
        return b"".join([take() for _ in range(len(self._lines))])

    def _put(self, batch: bytes) -> None:
        data = memoryview(b"\n" + batch if self._torn else batch)
        written = 0
        try:
            while written < len(data):
                written += self._write(data[written:])
        except OSError:
            lost = bytes(data[written:]).count(b"\n")
            LOG_LINES_DROPPED.add(min(lost, batch.count(b"\n")), "write")
        if written:
            self._torn = data[written - 1] != ord("\n")
        self._held_bytes -= len(batch)

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:  # somebody made the descriptor non-blocking: wait as a blocking one would
            select.select((), (self._fd,), (), 1.0)
            return 0
