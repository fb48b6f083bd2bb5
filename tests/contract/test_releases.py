"""What every `ReleaseStore` promises; and what one in a folder promises of its files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from google.cloud.storage import Bucket

from apx.backends.files.releases import FileReleaseStore
from apx.backends.gcp.releases import GcsReleaseStore
from apx.errors import NotFound, Unavailable, Unsupported
from apx.release.digest import digest_of
from apx.release.store import Listed, ReleaseStore

from .conftest import kept

CONTENT = b"a part"
DIGEST = digest_of(CONTENT)
PART = f"blobs/{DIGEST.removeprefix('sha256:')}"


class Stored(msgspec.Struct, frozen=True):
    store: ReleaseStore
    plant: Callable[[str, bytes], None]
    """Put content under a name, past the store."""
    kept: Callable[[], list[str]]
    """Names of all that there is, whole or not."""


@pytest.fixture(params=["files", "gcs"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    return in_folder(tmp_path) if request.param == "files" else in_bucket(request.getfixturevalue("bucket"))


def in_folder(folder: Path) -> Stored:
    def plant(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)

    return Stored(FileReleaseStore(folder), plant, lambda: [str(path.relative_to(folder)) for path in files(folder)])


def in_bucket(bucket: Bucket) -> Stored:
    def plant(name: str, content: bytes) -> None:
        bucket.blob(name).upload_from_string(content)

    return Stored(GcsReleaseStore(bucket), plant, lambda: kept(bucket))


@pytest.fixture
def store(stored: Stored) -> ReleaseStore:
    return stored.store


@pytest.fixture
def in_files(tmp_path: Path) -> FileReleaseStore:
    return FileReleaseStore(tmp_path)


def listed(n: int, stored_at: float = 0.0) -> Listed:
    return Listed(digest=f"sha256:{n:064x}", product="orders", stored_at=stored_at)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def found(store: ReleaseStore) -> list[Listed]:
    return [one async for one in store.list_releases()]


async def test_a_part_is_read_as_it_was_stored(store: ReleaseStore) -> None:
    await store.put_blob(DIGEST, CONTENT)
    assert await store.get_blob(DIGEST, 100) == CONTENT


async def test_an_envelope_is_read_as_it_was_stored(store: ReleaseStore) -> None:
    await store.put_release(listed(1), b"\0envelope\xff")
    assert await store.get_release(listed(1).digest) == b"\0envelope\xff"


async def test_storing_again_is_no_error(store: ReleaseStore) -> None:
    for _ in range(2):
        await store.put_blob(DIGEST, CONTENT)
        await store.put_release(listed(1), b"envelope")
    assert await store.get_blob(DIGEST, 100) == CONTENT


@pytest.mark.parametrize("content", [b"", CONTENT], ids=["empty", "small"])
@pytest.mark.parametrize("limit_bytes", [0, 1, len(CONTENT) - 1, len(CONTENT), 10_000_000])
async def test_a_reader_stops_one_byte_beyond_its_limit(store: ReleaseStore, content: bytes, limit_bytes: int) -> None:
    await store.put_blob(digest_of(content), content)
    assert await store.get_blob(digest_of(content), limit_bytes) == content[: limit_bytes + 1]


@pytest.mark.parametrize("rot", [b"", b"rot", b"A part", CONTENT + b"."])
async def test_a_damaged_part_is_mended_by_storing_it_again(stored: Stored, rot: bytes) -> None:
    await stored.store.put_blob(DIGEST, CONTENT)
    stored.plant(PART, rot)
    await stored.store.put_blob(DIGEST, CONTENT)
    assert await stored.store.get_blob(DIGEST, 100) == CONTENT


async def test_an_envelope_that_cannot_be_read_is_none(stored: Stored) -> None:
    await stored.store.put_release(listed(1), b"envelope")
    stored.plant(f"releases/{1:064x}.json", b"\xff\0")
    assert await stored.store.get_release(listed(1).digest) == b""


async def test_what_is_not_there_is_not_found(store: ReleaseStore) -> None:
    with pytest.raises(NotFound):
        await store.get_blob(DIGEST, 100)
    with pytest.raises(NotFound):
        await store.get_release(DIGEST)


@pytest.mark.parametrize("digest", ["../x", "", "sha256:../../x", DIGEST + "\n", DIGEST.upper()])
async def test_only_a_digest_becomes_part_of_a_path(stored: Stored, digest: str) -> None:
    with pytest.raises(Unsupported):
        await stored.store.put_blob(digest, CONTENT)
    assert stored.kept() == []


async def test_an_empty_store_lists_nothing(store: ReleaseStore) -> None:
    assert await found(store) == []


async def test_the_newest_is_listed_first(store: ReleaseStore) -> None:
    for n, at in ((1, 10.0), (2, 30.0), (3, 20.0)):
        await store.put_release(listed(n, at), b"e")
    assert [one.stored_at for one in await found(store)] == [30.0, 20.0, 10.0]


async def test_listing_passes_junk_over(stored: Stored) -> None:
    await stored.store.put_release(listed(1), b"e")
    stored.plant("releases/README.txt", b"hello")
    stored.plant("releases/half.json", b'{"listed":')
    stored.plant(f"releases/{2:064x}.json", b"\xff\0")
    stored.plant(f"releases/{3:064x}.json", b"")
    stored.plant("releases/.part-abc", b"{}")
    assert await found(stored.store) == [listed(1)]


async def test_listing_passes_over_what_is_no_file(in_files: FileReleaseStore, tmp_path: Path) -> None:
    await in_files.put_release(listed(1), b"e")
    folder = tmp_path / "releases"
    (folder / f"{2:064x}.json").mkdir()
    (folder / f"{3:064x}.json").symlink_to(folder / "nowhere")
    assert await found(in_files) == [listed(1)]


async def test_an_entry_under_another_name_is_not_listed(stored: Stored) -> None:
    entry = msgspec.json.encode({"listed": listed(2), "envelope": b"e"})
    await stored.store.put_release(listed(1), b"e")
    stored.plant(f"releases/{2:064x}.json", entry)
    stored.plant(f"releases/{3:064x}.json", entry)
    assert [one.digest for one in await found(stored.store)] == [listed(2).digest, listed(1).digest]


async def test_a_write_that_fails_leaves_nothing_behind(
    in_files: FileReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        await in_files.put_blob(DIGEST, CONTENT)
    assert files(tmp_path) == []


async def test_a_write_is_synced_before_it_is_named(
    in_files: FileReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    sync, named = os.fsync, tmp_path / "blobs" / DIGEST.removeprefix("sha256:")

    def watched(descriptor: int) -> None:
        seen.append(named.exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await in_files.put_blob(DIGEST, CONTENT)
    assert seen == [False, True]  # the file before it has its name, the folder after


async def test_a_part_that_is_being_written_is_seen_whole_or_not_at_all(store: ReleaseStore) -> None:
    content = os.urandom(4_000_000)
    digest = digest_of(content)
    writing = [asyncio.ensure_future(store.put_blob(digest, content)) for _ in range(4)]
    seen = set()
    while not all(writer.done() for writer in writing):
        try:
            seen.add(len(await store.get_blob(digest, len(content))))
        except NotFound:
            seen.add(-1)
    await asyncio.gather(*writing)
    assert seen <= {-1, len(content)}


async def test_writers_at_one_time_leave_one_whole_release_each(stored: Stored) -> None:
    await asyncio.gather(*(stored.store.put_release(listed(n % 4), b"e" * 10_000) for n in range(32)))
    assert len(await found(stored.store)) == 4
    assert len(stored.kept()) == 4


async def test_of_two_that_write_one_release_differently_one_stands_whole(stored: Stored) -> None:
    envelopes = {bytes([n]) * 10_000 for n in range(8)}
    await asyncio.gather(*(stored.store.put_release(listed(1), envelope) for envelope in envelopes))
    assert await stored.store.get_release(listed(1).digest) in envelopes


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable):
        await FileReleaseStore(tmp_path / "file").put_blob(DIGEST, CONTENT)
