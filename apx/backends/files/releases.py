"""Releases in a folder: `blobs/<hex>` for parts, `releases/<hex>.json` for envelopes. The `ReleaseStore` port."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from apx.backends.files.folders import sync
from apx.errors import NotFound, Unavailable
from apx.release.store import MOST_ENVELOPE_BYTES, Listed, Stored, stored_name


class FileReleaseStore:
    """One folder; every write goes to a temporary file, is synced, and is then renamed into place."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._releases = folder / "releases"

    async def put_blob(self, digest: str, content: bytes) -> None:
        """Store one part under its digest."""
        await asyncio.to_thread(_write_once, self._blobs / stored_name(digest), content)

    async def get_blob(self, digest: str, limit_bytes: int) -> bytes:
        """Return at most `limit_bytes` + 1 bytes of a part."""
        return await asyncio.to_thread(_read, self._blobs / stored_name(digest), limit_bytes + 1)

    async def put_release(self, listed: Listed, envelope: bytes) -> None:
        """Store the signed envelope of a release."""
        content = msgspec.json.encode(Stored(listed=listed, envelope=envelope))
        await asyncio.to_thread(_write_once, self._releases / f"{stored_name(listed.digest)}.json", content)

    async def get_release(self, digest: str) -> bytes:
        """Return the envelope of a release, not verified."""
        path = self._releases / f"{stored_name(digest)}.json"
        content = await asyncio.to_thread(_read, path, MOST_ENVELOPE_BYTES)
        try:
            return msgspec.json.decode(content, type=Stored).envelope
        except (msgspec.MsgspecError, ValueError):
            return b""  # what cannot be read has no valid signature either: the loader refuses it

    async def list_releases(self) -> AsyncIterator[Listed]:
        """Yield every stored release, newest first; files that are none are passed over."""
        for listed in await asyncio.to_thread(self._list):
            yield listed

    def _list(self) -> list[Listed]:
        found = []
        for path in self._releases.glob("*.json"):
            try:
                listed = msgspec.json.decode(path.read_bytes(), type=Stored).listed
            except (msgspec.MsgspecError, ValueError, OSError):
                continue
            if listed.digest == f"sha256:{path.stem}":
                found.append(listed)
        return sorted(found, key=lambda listed: (listed.stored_at, listed.digest), reverse=True)


def _read(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit_bytes)
    except FileNotFoundError:
        raise NotFound(f"{path} is not there") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error


def _write_once(path: Path, content: bytes) -> None:
    """Make `content` visible under `path` whole or not at all; what is there and the same stays."""
    try:
        if path.exists() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        sync(path.parent)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error}") from error
