"""Blobs in Cloud Storage, named by their SHA-256: `apx.requests.ports.BlobStore`.

A body is written to a local file first (in memory while it is small), hashed on the way, and then uploaded under its
digest: the object is whole or it is not there. Its age stands in its custom time, by the clock that was passed in, so
that a lifecycle rule of the bucket on `daysSinceCustomTime` and `expire` say the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO

import google_crc32c
from google.cloud.storage import Bucket

from apx.backends.gcp.names import BODIES
from apx.backends.gcp.objects import Content, Objects, Seen, crc32c_text, together
from apx.clock import Clock, SystemClock
from apx.errors import NotFound, Unavailable, Unsupported

PIECE_BYTES = 2 * 1024 * 1024
"""How much of a blob one call reads."""
SPOOL_BYTES = 1024 * 1024
"""From here on a body waits on the disk, not in memory."""

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class GcsBlobs:
    """Blobs in one bucket. Raises `Unavailable`, and `Misconfigured` where Google refuses this process."""

    def __init__(self, bucket: Bucket, *, clock: Clock | None = None) -> None:
        """Age blobs by `clock`."""
        self._objects = Objects(bucket)
        self._clock = clock or SystemClock()

    async def put(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        """Store a stream durably; return (digest, size). Raises `Unsupported` over `max_bytes`, and `Unavailable`."""
        with SpooledTemporaryFile(SPOOL_BYTES) as file:
            digest, content = await _spool(file, chunks, max_bytes)
            # Stored again, a blob is young again: `expire` must not take it from under its second owner.
            await self._objects.store(BODIES + digest, content, stored_at=self._clock.time())
        return f"sha256:{digest}", content.size_bytes

    async def get(self, digest: str) -> AsyncIterator[bytes]:
        """Stream a blob. Raises `NotFound`, or `Unavailable` in place of the last piece when it is damaged."""
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise NotFound(f"{digest!r} is no digest")
        seen = await self._objects.look(BODIES + match[1])
        if seen is None:
            raise NotFound(f"blob {digest} is not here")
        hashed, ready = hashlib.sha256(), b""
        async for piece in self._pieces(seen):
            hashed.update(piece)
            if ready:
                yield ready
            ready = piece
        # The last piece waits for the check, so that nobody ever holds the whole of a damaged blob.
        if hashed.hexdigest() != match[1]:
            raise Unavailable(f"blob {digest} is damaged; it holds sha256:{hashed.hexdigest()}")
        if ready:
            yield ready

    async def expire(self, *, older_than_s: float) -> int:
        """Remove blobs that were stored longer ago, unless they are stored again meanwhile; return how many."""
        before = self._clock.time() - older_than_s
        removed = 0
        async for page in self._objects.pages(BODIES):
            old = [partial(self._objects.remove, seen) for seen in page if seen.stored_at < before]
            removed += sum(await together(old))
        return removed

    async def _pieces(self, seen: Seen) -> AsyncIterator[bytes]:
        """Read one generation, so that a blob that is replaced meanwhile is not read half and half."""
        for start in range(0, seen.size_bytes, PIECE_BYTES):
            end = start + PIECE_BYTES
            try:
                yield await self._objects.read(seen.name, start=start, end=end, generation=seen.generation)
            except NotFound as error:
                raise Unavailable(f"{seen.name} was removed or replaced while it was read") from error


async def _spool(file: IO[bytes], chunks: AsyncIterator[bytes], max_bytes: int) -> tuple[str, Content]:
    hashed, crc32c, size_bytes = hashlib.sha256(), 0, 0
    async for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise Unsupported(f"the body is over {max_bytes} bytes")
        hashed.update(chunk)
        crc32c = google_crc32c.extend(crc32c, chunk)
        try:
            await asyncio.to_thread(file.write, chunk)
        except OSError as error:
            raise Unavailable(f"keeping a body on the disk until it is stored: {error}") from error
    return hashed.hexdigest(), Content(file, size_bytes, crc32c_text(crc32c))
