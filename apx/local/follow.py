"""Reads the processes' logs: the last lines, and what comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

POLL_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a log; none when nothing was written yet."""
    try:
        with path.open(errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except OSError:
        return []


def new_lines(paths: Sequence[Path], pause: Callable[[float], object] = time.sleep) -> Iterator[tuple[Path, str]]:
    """Yield each line that is written from now on, over rotations, until the caller stops asking."""
    ends = [_End(path, _size(path)) for path in paths]
    while True:
        for end in ends:
            for line in end.read():
                yield end.path, line
        pause(POLL_S)


class _End(msgspec.Struct):
    """How far one log has been read."""

    path: Path
    offset: int

    def read(self) -> list[str]:
        size = _size(self.path)
        if size < self.offset:
            self.offset = 0  # rotated: the name is a new file's
        if size == self.offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            whole, newline, _ = file.read(size - self.offset).rpartition(b"\n")
        self.offset += len(whole) + len(newline)
        return whole.decode("utf-8", "replace").splitlines()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
