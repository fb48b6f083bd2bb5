"""Blobs in process: `apx.requests.ports.BlobStore` for tests."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from apx.clock import Clock
from apx.errors import NotFound, Unavailable, Unsupported


class MemoryBlobs:
    """Blobs of one process; gone with it. `content` is open to tests that damage it."""

    def __init__(self, clock: Clock) -> None:
        """Age blobs by `clock`."""
        self._clock = clock
        self.content: dict[str, bytes] = {}
        self._stored: dict[str, float] = {}

    async def put(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        """Store a stream; return (digest, size)."""
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                raise Unsupported(f"the body is over {max_bytes} bytes")
        digest = _digest(bytes(body))
        self.content[digest] = bytes(body)
        self._stored[digest] = self._clock.time()
        return digest, len(body)

    async def get(self, digest: str) -> AsyncIterator[bytes]:
        """Stream a blob."""
        body = self.content.get(digest)
        if body is None:
            raise NotFound(f"blob {digest} is not here")
        if _digest(body) != digest:
            raise Unavailable(f"blob {digest} is damaged")
        if body:
            yield body

    async def expire(self, *, older_than_s: float) -> int:
        """Remove blobs that were stored longer ago; return how many."""
        before = self._clock.time() - older_than_s
        old = [digest for digest, stored in self._stored.items() if stored < before]
        for digest in old:
            del self.content[digest], self._stored[digest]
        return len(old)


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
