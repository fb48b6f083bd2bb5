"""A body on its way to where it is kept: with the result while it is small, to the blob store once it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from apx.requests.model import INLINE_BODY_BYTES
from apx.requests.ports import BlobStore


class Body(msgspec.Struct, frozen=True):
    """Where a body is: in `inline`, or in the blob store under `blob`."""

    inline: bytes
    blob: str | None
    size_bytes: int


async def keep(chunks: AsyncIterator[bytes], blobs: BlobStore, *, max_bytes: int) -> Body:
    """Read `chunks` to the end; never more than the inline size and one chunk is held. Raises what `chunks` raises."""
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size > INLINE_BODY_BYTES:
            digest, size = await blobs.put(_chained(held, chunks), max_bytes=max_bytes)
            return Body(b"", digest, size)
    return Body(held[0] if len(held) == 1 else b"".join(held), None, size)


async def _chained(held: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while held:
        yield held.pop(0)
    async for chunk in rest:
        yield chunk
