"""Releases in a folder: `blobs/<hex>` for parts, `releases/<hex>.json` for envelopes. The `ReleaseStore` port."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from apx.backends.files.folders import sync_folder
from apx.errors import NotFound, Unavailable, Unsupported
from apx.release.digest import is_digest
from apx.release.store import Listed

_MAX_ENVELOPE_BYTES = 16 * 1024 * 1024


class _Stored(msgspec.Struct, frozen=True):
    listed: Listed
    envelope: bytes


class FileReleaseStore:
    """One folder; every write goes to a temporary file, is synced, and is then renamed into place."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._releases = folder / "releases"

    async def put_blob(self, digest: str, content: bytes) -> None:
        """Store one part under its digest."""
        await asyncio.to_thread(_write_once, self._blobs / _name(digest), content)

    async def get_blob(self, digest: str, limit_bytes: int) -> bytes:
        """Return at most `limit_bytes` + 1 bytes of a part."""
        return await asyncio.to_thread(_read, self._blobs / _name(digest), limit_bytes + 1)

    async def put_release(self, listed: Listed, envelope: bytes) -> None:
        """Store the signed envelope of a release."""
        content = msgspec.json.encode(_Stored(listed=listed, envelope=envelope))
        await asyncio.to_thread(_write_once, self._releases / f"{_name(listed.digest)}.json", content)

    async def get_release(self, digest: str) -> bytes:
        """Return the envelope of a release, not verified."""
        path = self._releases / f"{_name(digest)}.json"
        content = await asyncio.to_thread(_read, path, _MAX_ENVELOPE_BYTES)
        try:
            return msgspec.json.decode(content, type=_Stored).envelope
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
                listed = msgspec.json.decode(path.read_bytes(), type=_Stored).listed
            except (msgspec.MsgspecError, ValueError, OSError):
                continue
            if listed.digest == f"sha256:{path.stem}":
                found.append(listed)
        return sorted(found, key=lambda listed: (listed.stored_at, listed.digest), reverse=True)


def _name(digest: str) -> str:
    if not is_digest(digest):
        raise Unsupported(f"{digest[:80]!r} is not a digest (sha256:<64 hex digits>)")
    return digest.removeprefix("sha256:")


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
        sync_folder(path.parent)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error}") from error
