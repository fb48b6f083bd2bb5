"""Blobs as files, named by their SHA-256: `apx.requests.ports.BlobStore`.

    HOME/ab/abcdef…   a whole blob         HOME/partial/…   one that is being written

A blob is synced, then renamed into place, then its folder is synced: it is whole or it is not there. Files are read and
written in threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from apx.backends.files.folders import sync
from apx.clock import Clock, SystemClock
from apx.errors import NotFound, Unavailable, Unsupported

CHUNK_BYTES = 262_144
PARTIAL_S = 3600.0
"""A partial file that old belongs to a process that died."""

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class FileBlobs:
    """Blobs under one folder, shared by every process of the machine."""

    def __init__(self, home: Path, *, clock: Clock | None = None) -> None:
        """Keep blobs under `home`, made when first needed."""
        self._home = home
        self._partial = home / "partial"
        self._clock = clock or SystemClock()

    async def put(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        """Store a stream durably; return (digest, size). Raises `Unsupported` over `max_bytes`, and `Unavailable`."""
        with _unavailable("storing a blob"):
            file = await asyncio.to_thread(self._open_partial)
        try:
            digest, size_bytes = await _write(file, chunks, max_bytes)
            with _unavailable("storing a blob"):
                await asyncio.to_thread(self._publish, file, digest)
        finally:
            file.close()
            with suppress(FileNotFoundError):
                os.unlink(file.name)  # noqa: PTH108 -- gone already when it was published
        return f"sha256:{digest}", size_bytes

    async def get(self, digest: str) -> AsyncIterator[bytes]:
        """Stream a blob. Raises `NotFound`, or `Unavailable` in place of the last piece when it is damaged."""
        path = self._path(digest)
        hashed, ready = hashlib.sha256(), b""
        with _unavailable("reading a blob"):
            try:
                file = await asyncio.to_thread(path.open, "rb")
            except FileNotFoundError as error:
                raise NotFound(f"blob {digest} is not here") from error
            with file:
                while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    hashed.update(chunk)
                    if ready:
                        yield ready
                    ready = chunk
        # The last piece waits for the check, so that nobody ever holds the whole of a damaged blob.
        if hashed.hexdigest() != path.name:
            raise Unavailable(f"blob {digest}: {path} is damaged; it holds sha256:{hashed.hexdigest()}")
        if ready:
            yield ready

    async def expire(self, *, older_than_s: float) -> int:
        """Remove blobs that were stored longer ago, and partial files of dead processes; return how many blobs."""
        with _unavailable("expiring blobs"):
            return await asyncio.to_thread(self._expire, self._clock.time() - older_than_s)

    def _path(self, digest: str) -> Path:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise NotFound(f"{digest!r} is no digest")
        return self._home / match[1][:2] / match[1]

    def _open_partial(self) -> IO[bytes]:
        self._partial.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=self._partial, delete=False)

    def _publish(self, file: IO[bytes], digest: str) -> None:
        file.flush()
        os.fsync(file.fileno())
        path = self._path(f"sha256:{digest}")
        path.parent.mkdir(exist_ok=True)
        # Stored again, a blob is young again: `expire` must not take it from under its second owner.
        Path(file.name).rename(path)
        sync(path.parent)
        sync(self._home)

    def _expire(self, before: float) -> int:
        removed = sum(_remove_older(path, before) for path in self._home.glob("[0-9a-f][0-9a-f]/*"))
        for path in self._partial.glob("*"):
            _remove_older(path, time.time() - PARTIAL_S)
        return removed


async def _write(file: IO[bytes], chunks: AsyncIterator[bytes], max_bytes: int) -> tuple[str, int]:
    hashed, size_bytes = hashlib.sha256(), 0
    async for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise Unsupported(f"the body is over {max_bytes} bytes")
        hashed.update(chunk)
        with _unavailable("storing a blob"):
            await asyncio.to_thread(file.write, chunk)
    return hashed.hexdigest(), size_bytes


def _remove_older(path: Path, before: float) -> bool:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime < before:
            path.unlink()
            return True
    return False


@contextmanager
def _unavailable(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{doing}: {error}") from error
