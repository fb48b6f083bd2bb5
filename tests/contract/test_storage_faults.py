"""What the adapters over Cloud Storage keep up when it is gone or hangs, and when others write at the same time."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from google.cloud.storage import Bucket

from apx.backends.gcp.blobs import PIECE_BYTES, GcsBlobs
from apx.backends.gcp.connection import CALL_TIMEOUT_S
from apx.backends.gcp.objects import CHUNK_BYTES, Objects, Seen, content_of, open_bucket
from apx.backends.gcp.releases import GcsReleaseStore
from apx.clock import ManualClock
from apx.errors import Misconfigured, NotFound, Unavailable
from apx.release.digest import digest_of
from apx.release.store import Listed

from .conftest import OwnStorage, kept

BOUND_S = CALL_TIMEOUT_S + 2.0
"""One call, and a slow machine."""
CONTENT = b"a part"
DIGEST = digest_of(CONTENT)
RELEASE = Listed(digest=DIGEST, product="orders", stored_at=0.0)


async def chunks(body: bytes, size: int = 1_000_000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(blobs: GcsBlobs, digest: str) -> bytes:
    return b"".join([piece async for piece in blobs.get(digest)])


async def listed(store: GcsReleaseStore) -> list[Listed]:
    return [one async for one in store.list_releases()]


CALLS: dict[str, Callable[[GcsReleaseStore, GcsBlobs], Awaitable[Any]]] = {
    "put_blob": lambda store, _: store.put_blob(DIGEST, CONTENT),
    "get_blob": lambda store, _: store.get_blob(DIGEST, 100),
    "put_release": lambda store, _: store.put_release(RELEASE, b"e"),
    "get_release": lambda store, _: store.get_release(DIGEST),
    "list_releases": lambda store, _: listed(store),
    "put": lambda _, blobs: blobs.put(chunks(CONTENT), max_bytes=100),
    "get": lambda _, blobs: read(blobs, DIGEST),
    "expire": lambda _, blobs: blobs.expire(older_than_s=1),
}


async def in_bounded_time(bucket: Bucket) -> dict[str, str]:
    """Make every call at once; name what each raised."""
    store, blobs = GcsReleaseStore(bucket), GcsBlobs(bucket)
    async with asyncio.timeout(BOUND_S):
        raised = await asyncio.gather(*(call(store, blobs) for call in CALLS.values()), return_exceptions=True)
    return {name: type(error).__name__ for name, error in zip(CALLS, raised, strict=True)}


async def test_storage_that_is_gone_is_unavailable_in_bounded_time(own_storage: OwnStorage) -> None:
    await GcsReleaseStore(own_storage.bucket).put_blob(DIGEST, CONTENT)
    own_storage.emulator.stop()
    assert await in_bounded_time(own_storage.bucket) == dict.fromkeys(CALLS, "Unavailable")


async def test_storage_that_hangs_is_unavailable_in_bounded_time(own_storage: OwnStorage) -> None:
    await GcsReleaseStore(own_storage.bucket).put_blob(DIGEST, CONTENT)
    own_storage.emulator.signal(signal.SIGSTOP)
    assert await in_bounded_time(own_storage.bucket) == dict.fromkeys(CALLS, "Unavailable")
    own_storage.emulator.signal(signal.SIGCONT)


async def test_storage_that_hangs_for_a_moment_is_waited_for(own_storage: OwnStorage) -> None:
    store = GcsReleaseStore(own_storage.bucket)
    own_storage.emulator.signal(signal.SIGSTOP)
    asyncio.get_running_loop().call_later(0.5, own_storage.emulator.signal, signal.SIGCONT)
    await store.put_blob(DIGEST, CONTENT)
    assert await store.get_blob(DIGEST, 100) == CONTENT


@pytest.mark.usefixtures("storage_emulator")
async def test_a_bucket_that_is_not_there_is_a_mistake_of_the_settings() -> None:
    bucket = open_bucket("apx-test", "apx-nowhere")
    with pytest.raises(Misconfigured, match="no bucket apx-nowhere"):
        await GcsReleaseStore(bucket).put_blob(DIGEST, CONTENT)
    with pytest.raises(Misconfigured, match="no bucket apx-nowhere"):
        await GcsBlobs(bucket).expire(older_than_s=1)
    bucket.client.close()


async def test_a_body_of_several_pieces_is_read_as_it_was_stored(bucket: Bucket) -> None:
    body = bytes(range(251)) * (2 * CHUNK_BYTES // 251)
    digest, size_bytes = await GcsBlobs(bucket).put(chunks(body), max_bytes=len(body))
    assert (size_bytes, await read(GcsBlobs(bucket), digest)) == (len(body), body)


async def test_a_large_body_is_never_in_memory_whole(bucket: Bucket) -> None:
    async def large() -> AsyncIterator[bytes]:
        for n in range(64):
            yield bytes([n]) * 1_048_576

    tracemalloc.start()
    try:
        digest, size_bytes = await GcsBlobs(bucket).put(large(), max_bytes=64 * 1_048_576)
        assert sum([len(piece) async for piece in GcsBlobs(bucket).get(digest)]) == size_bytes
        assert tracemalloc.get_traced_memory()[1] < size_bytes / 2
    finally:
        tracemalloc.stop()


async def test_writers_of_one_blob_at_one_time_leave_it_once_and_whole(bucket: Bucket) -> None:
    body = b"x" * 300_000
    clock = ManualClock()
    writers = [GcsBlobs(bucket, clock=clock) for _ in range(6)]
    stored = await asyncio.gather(*(writer.put(chunks(body), max_bytes=len(body)) for writer in writers))
    assert set(stored) == {(digest_of(body), len(body))}
    assert kept(bucket) == [f"bodies/{hashlib.sha256(body).hexdigest()}"]


async def test_a_blob_that_is_replaced_while_it_is_read_is_not_read_half_and_half(bucket: Bucket) -> None:
    blobs = GcsBlobs(bucket)
    digest, _ = await blobs.put(chunks(b"a" * 3 * PIECE_BYTES), max_bytes=3 * PIECE_BYTES)
    reading = blobs.get(digest)
    await anext(reading)
    bucket.blob(f"bodies/{digest.removeprefix('sha256:')}").upload_from_string(b"b" * 3 * PIECE_BYTES)
    with pytest.raises(Unavailable, match="while it was read"):
        [_ async for _ in reading]


class Raced(Objects):
    """Another writer comes between this one's look and what it does then, `times` times."""

    def __init__(self, bucket: Bucket, other: Callable[[int], None], times: int) -> None:
        super().__init__(bucket)
        self._other = other
        self._left = times

    async def look(self, name: str) -> Seen | None:
        seen = await super().look(name)
        if self._left:
            self._left -= 1
            await asyncio.to_thread(self._other, self._left)
        return seen


def overwritten(bucket: Bucket, n: int) -> None:
    bucket.blob("a").upload_from_string(b"other %d" % n)


async def test_what_others_replace_meanwhile_is_looked_at_anew(bucket: Bucket) -> None:
    overwritten(bucket, 9)
    objects = Raced(bucket, partial(overwritten, bucket), times=2)
    await objects.store("a", content_of(CONTENT))
    assert await objects.read("a", start=0, end=100) == CONTENT


async def test_what_others_remove_meanwhile_is_stored(bucket: Bucket) -> None:
    overwritten(bucket, 9)
    objects = Raced(bucket, lambda _: bucket.delete_blob("a"), times=1)
    await objects.store("a", content_of(CONTENT))
    assert await objects.read("a", start=0, end=100) == CONTENT


async def test_what_others_remove_before_it_is_renewed_is_stored(bucket: Bucket) -> None:
    objects = Raced(bucket, lambda _: bucket.delete_blob("a"), times=1)
    await objects.store("a", content_of(CONTENT), stored_at=1_000.0)
    await objects.store("a", content_of(CONTENT), stored_at=2_000.0)
    seen = await objects.look("a")
    assert seen is not None
    assert seen.stored_at == 2_000.0


async def test_a_writer_that_always_comes_second_gives_up(bucket: Bucket) -> None:
    overwritten(bucket, 99)
    with pytest.raises(Unavailable, match="changed by others"):
        await Raced(bucket, partial(overwritten, bucket), times=99).store("a", content_of(CONTENT))


async def test_a_clock_that_is_behind_makes_no_blob_older(bucket: Bucket) -> None:
    for stored_at in (2_000.0, 1_000.0):
        await Objects(bucket).store("a", content_of(CONTENT), stored_at=stored_at)
    seen = await Objects(bucket).look("a")
    assert seen is not None
    assert seen.stored_at == 2_000.0


async def test_a_blob_that_is_gone_before_it_expires_is_not_counted(bucket: Bucket) -> None:
    await Objects(bucket).store("a", content_of(CONTENT))
    seen = await Objects(bucket).look("a")
    assert seen is not None
    assert [await Objects(bucket).remove(seen) for _ in range(2)] == [True, False]


@pytest.fixture
def asked(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Collect what is asked of the server: method and URL."""
    seen: list[tuple[str, str]] = []
    send = bucket.client._http.request  # noqa: SLF001 -- the only place where all requests pass

    def request(method: str, url: str, *args: Any, **options: Any) -> Any:
        seen.append((method, url))
        return send(method, url, *args, **options)

    monkeypatch.setattr(bucket.client._http, "request", request)  # noqa: SLF001 -- see above
    return seen


async def test_only_a_blob_that_nobody_stored_again_expires(bucket: Bucket, asked: list[tuple[str, str]]) -> None:
    """The emulator ignores what a removal depends on: that it is sent has to do."""
    clock = ManualClock()
    await GcsBlobs(bucket, clock=clock).put(chunks(CONTENT), max_bytes=100)
    clock.advance(100)
    assert await GcsBlobs(bucket, clock=clock).expire(older_than_s=50) == 1
    [removal] = [url for method, url in asked if method == "DELETE"]
    assert "ifGenerationMatch=" in removal
    assert "ifMetagenerationMatch=" in removal


async def test_a_part_that_is_there_is_not_written_again(bucket: Bucket) -> None:
    store = GcsReleaseStore(bucket)
    await store.put_blob(DIGEST, CONTENT)
    before = [blob.generation for blob in bucket.list_blobs()]
    await store.put_blob(DIGEST, CONTENT)
    assert [blob.generation for blob in bucket.list_blobs()] == before


async def test_a_release_that_is_gone_since_it_was_listed_is_passed_over(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await GcsReleaseStore(bucket).put_release(RELEASE, b"e")

    async def gone(*_: Any, **__: Any) -> bytes:
        raise NotFound("gone")

    monkeypatch.setattr(Objects, "read", gone)
    assert await listed(GcsReleaseStore(bucket)) == []
