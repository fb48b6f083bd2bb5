"""What every `ReleaseStore` promises; kept in a folder, so far."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from apx.backends.files.releases import FileReleaseStore
from apx.errors import NotFound, Unavailable, Unsupported
from apx.release.digest import digest_of
from apx.release.store import Listed, ReleaseStore

CONTENT = b"a part"
DIGEST = digest_of(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
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


async def test_a_damaged_part_is_mended_by_storing_it_again(store: ReleaseStore, tmp_path: Path) -> None:
    await store.put_blob(DIGEST, CONTENT)
    (tmp_path / "blobs" / DIGEST.removeprefix("sha256:")).write_bytes(b"rot")
    await store.put_blob(DIGEST, CONTENT)
    assert await store.get_blob(DIGEST, 100) == CONTENT


async def test_what_is_not_there_is_not_found(store: ReleaseStore) -> None:
    with pytest.raises(NotFound):
        await store.get_blob(DIGEST, 100)
    with pytest.raises(NotFound):
        await store.get_release(DIGEST)


@pytest.mark.parametrize("digest", ["../x", "", "sha256:../../x", DIGEST + "\n", DIGEST.upper()])
async def test_only_a_digest_becomes_part_of_a_path(store: ReleaseStore, digest: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        await store.put_blob(digest, CONTENT)
    assert files(tmp_path) == []


async def test_an_empty_store_lists_nothing(store: ReleaseStore) -> None:
    assert await found(store) == []


async def test_the_newest_is_listed_first(store: ReleaseStore) -> None:
    for n, at in ((1, 10.0), (2, 30.0), (3, 20.0)):
        await store.put_release(listed(n, at), b"e")
    assert [one.stored_at for one in await found(store)] == [30.0, 20.0, 10.0]


async def test_listing_passes_junk_over(store: ReleaseStore, tmp_path: Path) -> None:
    await store.put_release(listed(1), b"e")
    folder = tmp_path / "releases"
    (folder / "README.txt").write_text("hello")
    (folder / "half.json").write_text('{"listed":')
    (folder / f"{2:064x}.json").write_bytes(b"\xff\0")
    (folder / f"{3:064x}.json").mkdir()
    (folder / f"{4:064x}.json").symlink_to(folder / "nowhere")
    (folder / ".part-abc").write_text("{}")
    assert await found(store) == [listed(1)]


async def test_an_entry_under_another_name_is_not_listed(store: ReleaseStore, tmp_path: Path) -> None:
    await store.put_release(listed(1), b"e")
    whole = tmp_path / "releases" / f"{1:064x}.json"
    whole.rename(whole.with_name(f"{2:064x}.json"))
    assert await found(store) == []


async def test_a_write_that_fails_leaves_nothing_behind(
    store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        await store.put_blob(DIGEST, CONTENT)
    assert files(tmp_path) == []


async def test_a_write_is_synced_before_it_is_named(
    store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    sync, named = os.fsync, tmp_path / "blobs" / DIGEST.removeprefix("sha256:")

    def watched(descriptor: int) -> None:
        seen.append(named.exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await store.put_blob(DIGEST, CONTENT)
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


async def test_writers_at_one_time_leave_one_whole_file_each(store: ReleaseStore, tmp_path: Path) -> None:
    await asyncio.gather(*(store.put_release(listed(n % 4), b"e" * 10_000) for n in range(32)))
    assert len(await found(store)) == 4
    assert len(list((tmp_path / "releases").iterdir())) == 4


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable):
        await FileReleaseStore(tmp_path / "file").put_blob(DIGEST, CONTENT)
