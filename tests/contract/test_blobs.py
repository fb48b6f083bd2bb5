"""What every `BlobStore` promises."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from google.cloud.storage import Bucket

from apx.backends.files.blobs import FileBlobs
from apx.backends.gcp.blobs import GcsBlobs
from apx.backends.memory.blobs import MemoryBlobs
from apx.clock import ManualClock
from apx.errors import NotFound, Unavailable, Unsupported
from apx.requests.ports import BlobStore

from .conftest import kept

BODY = bytes(range(256)) * 5000


class Stored(msgspec.Struct, frozen=True):
    blobs: BlobStore
    later: Callable[[float], None]
    """Let so many seconds pass for all that is stored."""
    damage: Callable[[str, bytes], None]
    kept: Callable[[], list[str]]
    """Names of all that there is, whole or not."""


@pytest.fixture(params=["memory", "files", "gcs"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    if request.param == "memory":
        return in_memory()
    return in_files(tmp_path) if request.param == "files" else in_bucket(request.getfixturevalue("bucket"))


def in_memory() -> Stored:
    clock = ManualClock()
    memory = MemoryBlobs(clock)
    return Stored(memory, clock.advance, memory.content.__setitem__, lambda: list(memory.content))


def in_bucket(bucket: Bucket) -> Stored:
    def damage(digest: str, content: bytes) -> None:
        bucket.blob(f"bodies/{digest.removeprefix('sha256:')}").upload_from_string(content)

    clock = ManualClock()
    return Stored(GcsBlobs(bucket, clock=clock), clock.advance, damage, lambda: kept(bucket))


def in_files(tmp_path: Path) -> Stored:
    home = tmp_path / "blobs"
    probe = tmp_path / "probe"
    probe.touch()
    clock = ManualClock(probe.stat().st_mtime)

    def later(seconds: float) -> None:
        for path in home.glob("??/*"):
            os.utime(path, (clock.time() - seconds, clock.time() - seconds))

    def damage(digest: str, content: bytes) -> None:
        [path] = home.glob(f"??/{digest.removeprefix('sha256:')}")
        path.write_bytes(content)

    def names() -> list[str]:
        return [path.name for path in home.rglob("*") if path.is_file()]

    return Stored(FileBlobs(home, clock=clock), later, damage, names)


@pytest.fixture
def blobs(stored: Stored) -> BlobStore:
    return stored.blobs


async def pieces(body: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(blobs: BlobStore, digest: str) -> bytes:
    return b"".join([piece async for piece in blobs.get(digest)])


@pytest.mark.parametrize("body", [b"", b"x", BODY], ids=["empty", "small", "large"])
async def test_a_blob_is_read_as_it_was_stored(blobs: BlobStore, body: bytes) -> None:
    digest, size_bytes = await blobs.put(pieces(body), max_bytes=len(BODY))
    assert (digest, size_bytes) == (f"sha256:{hashlib.sha256(body).hexdigest()}", len(body))
    assert await read(blobs, digest) == body


async def test_a_blob_over_the_bound_is_refused_and_leaves_nothing(stored: Stored) -> None:
    with pytest.raises(Unsupported):
        await stored.blobs.put(pieces(BODY), max_bytes=len(BODY) - 1)
    with pytest.raises(NotFound):
        await read(stored.blobs, f"sha256:{hashlib.sha256(BODY).hexdigest()}")
    assert stored.kept() == []


async def test_a_stream_that_breaks_leaves_nothing(stored: Stored) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await stored.blobs.put(breaks(), max_bytes=100)
    assert stored.kept() == []


async def test_an_unknown_digest_is_not_found(blobs: BlobStore) -> None:
    with pytest.raises(NotFound):
        await read(blobs, "sha256:" + "0" * 64)


@pytest.mark.parametrize("digest", ["", "sha256:", "../../etc/passwd", "sha256:../" + "0" * 61, "sha256:" + "A" * 64])
async def test_what_is_no_digest_is_not_found(blobs: BlobStore, digest: str) -> None:
    with pytest.raises(NotFound):
        await read(blobs, digest)


@pytest.mark.parametrize("damaged", [BODY[:-1], BODY + b"x", b"\xff" + BODY[1:], b""])
async def test_a_damaged_blob_is_never_read_whole(stored: Stored, damaged: bytes) -> None:
    digest, _ = await stored.blobs.put(pieces(BODY), max_bytes=len(BODY))
    stored.damage(digest, damaged)
    seen = bytearray()

    async def read_into() -> None:
        async for piece in stored.blobs.get(digest):
            seen.extend(piece)

    with pytest.raises(Unavailable):
        await read_into()
    assert len(seen) < max(1, len(damaged))


async def test_old_blobs_expire_and_young_ones_stay(stored: Stored) -> None:
    digest, _ = await stored.blobs.put(pieces(b"old"), max_bytes=10)
    stored.later(100)
    assert await stored.blobs.expire(older_than_s=1000) == 0
    assert await stored.blobs.expire(older_than_s=50) == 1
    with pytest.raises(NotFound):
        await read(stored.blobs, digest)


async def test_a_blob_stored_twice_is_one(blobs: BlobStore) -> None:
    first = await blobs.put(pieces(BODY), max_bytes=len(BODY))
    assert await blobs.put(pieces(BODY, 7777), max_bytes=len(BODY)) == first
    assert await read(blobs, first[0]) == BODY


async def test_a_blob_stored_again_is_as_young_as_that(stored: Stored) -> None:
    digest, _ = await stored.blobs.put(pieces(b"old"), max_bytes=10)
    stored.later(100)
    await stored.blobs.put(pieces(b"old"), max_bytes=10)
    assert await stored.blobs.expire(older_than_s=50) == 0
    assert await read(stored.blobs, digest) == b"old"


async def test_a_damaged_blob_is_mended_by_storing_it_again(stored: Stored) -> None:
    digest, _ = await stored.blobs.put(pieces(BODY), max_bytes=len(BODY))
    stored.damage(digest, b"rot")
    await stored.blobs.put(pieces(BODY), max_bytes=len(BODY))
    assert await read(stored.blobs, digest) == BODY
