"""The lines that another process appends to a file, each once: over torn lines, rotation, truncation and restarts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

_log = structlog.get_logger(__name__)
_AT_ONCE = 1024 * 1024
_LONGEST_LINE = 64 * 1024


class _Position(msgspec.Struct, frozen=True):
    inode: int
    offset: int
    """Bytes that were read as whole lines."""


class Tail:
    """Reads a file that may be moved to `rotated` at any time, when its writer goes on in a new one.

    How far it came is remembered in a file before the lines are handed out: after a crash some may be lost, none comes
    twice. Where nothing is remembered, it begins at the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._remembered = path.with_suffix(".position")
        self._file: BinaryIO | None = None
        self._offset = 0
        self._torn = False

    @property
    def rotated(self) -> Path:
        """Return where the file is moved to."""
        return self._path.with_suffix(f"{self._path.suffix}.1")

    def read(self) -> list[bytes]:
        """Return the next whole lines, at most a MiB of them; nothing when there are none. Raises `OSError`."""
        if self._file is None and not self._open():
            return []
        lines = self._next()
        while not lines and self._moved():
            lines = self._next()  # what was written between the last look and the move
            if not lines:
                self._go_on_with(self._path, 0)
                lines = self._next()
        return lines

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next(self) -> list[bytes]:
        file = self._file
        if file is None:
            return []
        if os.fstat(file.fileno()).st_size < self._offset:  # somebody has emptied it
            self._offset, self._torn = 0, False
        file.seek(self._offset)
        data = file.read(_AT_ONCE)
        end = data.rfind(b"\n") + 1
        if not end and len(data) > _LONGEST_LINE:
            end, self._torn = len(data), True  # no line of ours is so long: what follows is its rest
            self._remember(end)
            return self._next()
        if not end:
            return []
        lines = data[: end - 1].split(b"\n")
        if self._torn:
            lines, self._torn = lines[1:], False
        self._remember(end)
        return lines or self._next()

    def _remember(self, read: int) -> None:
        if self._file is None:
            return
        self._offset += read
        position = _Position(os.fstat(self._file.fileno()).st_ino, self._offset)
        draft = self._remembered.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(position))
        draft.replace(self._remembered)

    def _open(self) -> bool:
        """Open the file where the last process left it, or at its end; False while there is none."""
        position = self._last_position()
        for path in (self._path, self.rotated):
            if position is not None and _inode(path) == position.inode:
                self._go_on_with(path, position.offset)
                return True
        inode = _inode(self._path)
        if inode is None:
            return False
        self._go_on_with(self._path, 0)
        if position is None and self._file is not None:
            self._offset = max(0, self._file.seek(0, os.SEEK_END) - 1)  # a byte before: it tells whether a line ends
            self._torn = self._offset > 0
            self._remember(0)
        return True

    def _go_on_with(self, path: Path, offset: int) -> None:
        self.close()
        self._file, self._offset, self._torn = path.open("rb"), offset, False

    def _moved(self) -> bool:
        """Tell whether the writer has begun a new file: it writes no more to the old one then."""
        inode = _inode(self._path)
        return self._file is not None and inode is not None and inode != os.fstat(self._file.fileno()).st_ino

    def _last_position(self) -> _Position | None:
        try:
            return msgspec.json.decode(self._remembered.read_bytes(), type=_Position)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            _log.warning("tail.position-unreadable", path=str(self._remembered), detail=str(error))
            return None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
