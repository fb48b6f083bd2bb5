"""Recorded decisions as files: `<home>/samples/<product>.<slot>.jsonl`. The `SampleStore` port, and its reader.

    1.lock              held by the process that writes the files of slot 1
    orders.1.jsonl      what it recorded of `orders`, one sample a line

A process takes the first slot that nobody holds, so that one that starts again goes on with the files of one that has
died, and there are never more files than processes at one time. A file that has grown to twice its bounds is written
anew with what `spread` keeps, beside the old one, and renamed over it. Only their owner can read the files.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from apx.errors import NotFound, Unavailable
from apx.policy.sample import MOST_LINE_BYTES, MOST_SAMPLES, Sample, Samples, line_of, read_samples, spread

MOST_BYTES = 8 * 1024 * 1024
"""Of one product and process, after a file was written anew."""
TOTAL_BYTES = 512 * 1024 * 1024
"""Of all products of one process: with many of them, each file is smaller."""
_LEAST_BYTES = 65_536
_MOST_READ_BYTES = 256 * 1024 * 1024
_MOST_SLOTS = 1_000
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


class FileSamples:
    """The samples that one process records."""

    def __init__(self, folder: Path) -> None:
        """Keep samples under `folder`, made when first needed."""
        self._folder = folder
        self._lock: int | None = None
        self._slot = 0
        self._sizes: dict[str, tuple[int, int]] = {}
        """Product → (lines, bytes) of its file."""

    async def append(self, samples: Sequence[Sample]) -> None:
        """Add samples to their products' files. Raises `Unavailable`."""
        await asyncio.to_thread(self._append, samples)

    def close(self) -> None:
        """Leave the slot to another process."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _append(self, samples: Sequence[Sample]) -> None:
        try:
            if self._lock is None:
                self._take_slot()
            for product, own in groupby(sorted(samples, key=lambda one: one.product), key=lambda one: one.product):
                if _NAME.fullmatch(product):
                    self._write(product, [line_of(sample) for sample in own])
        except OSError as error:
            raise Unavailable(f"{self._folder}: {error.strerror or error}: decisions are not recorded") from error

    def _take_slot(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for slot in range(1, _MOST_SLOTS):
            lock = os.open(self._folder / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            self._lock, self._slot = lock, slot
            return
        raise OSError(f"{_MOST_SLOTS} processes record here")

    def _write(self, product: str, lines: list[bytes]) -> None:
        path = self._folder / f"{product}.{self._slot}.jsonl"
        if product not in self._sizes:
            self._sizes[product] = _begin(path)
        content = b"".join(lines)
        _append_to(path, content)
        count, size = self._sizes[product]
        self._sizes[product] = count + len(lines), size + len(content)
        most_bytes = max(_LEAST_BYTES, min(MOST_BYTES, TOTAL_BYTES // len(self._sizes)))
        if count + len(lines) > 2 * MOST_SAMPLES or size + len(content) > 2 * most_bytes:
            self._sizes[product] = _shrink(path, most_bytes)


class RecordedInputs:
    """What was recorded, by product: in some files, else by every process of a home.

    Making one reads the files. Raises `NotFound` and `Unavailable`; no content does.
    """

    def __init__(self, folder: Path, files: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._given = bool(files)
        self._found: dict[str, list[Sample]] = {}
        self.passed_over = 0
        """Lines that were no samples, of what was read so far."""
        for path in files:
            self._read(path)

    def of(self, product: str) -> list[Sample]:
        """Return the samples of a product, `MOST_SAMPLES` at most, the newest first. Raises `Unavailable`."""
        if not self._given and product not in self._found and _NAME.fullmatch(product):
            for path in sorted(self._folder.glob(f"{product}.*.jsonl")):
                self._read(path)
        return spread(self._found.get(product, ()))

    def _read(self, path: Path) -> None:
        read = read_file(path)
        self.passed_over += read.passed_over
        for sample in read.samples:
            self._found.setdefault(sample.product, []).append(sample)


def read_file(path: Path) -> Samples:
    """Return the samples of a file of any origin. Raises `NotFound` or `Unavailable`; no content does."""
    try:
        if not path.is_file():
            raise NotFound(f"{path}: there is no such file of recorded inputs")
        return read_samples(_lines(path))
    except (OSError, ValueError) as error:  # ValueError: a name that no file system takes
        raise Unavailable(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines; of a line that is too long only its beginning, which is no sample."""
    with path.open("rb") as file:
        while file.tell() < _MOST_READ_BYTES and (line := file.readline(MOST_LINE_BYTES + 2)):
            yield line
            while not line.endswith(b"\n") and (line := file.readline(MOST_LINE_BYTES)):
                pass


def _begin(path: Path) -> tuple[int, int]:
    """Return the lines and bytes of a file, after ending a line that a process did not live to end."""
    if not path.exists():
        return 0, 0
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        _append_to(path, b"\n")
    return content.count(b"\n"), len(content)


def _append_to(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(content)


def _shrink(path: Path, most_bytes: int) -> tuple[int, int]:
    lines = [line_of(sample) for sample in spread(read_file(path).samples, most_bytes=most_bytes)]
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    _append_to(draft, b"".join(lines))
    draft.replace(path)
    return len(lines), sum(map(len, lines))
