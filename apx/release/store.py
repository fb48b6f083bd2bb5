"""Where releases are kept: parts by content, and one signed envelope for each digest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from apx.errors import Unsupported
from apx.release.digest import is_digest

MOST_ENVELOPE_BYTES = 16 * 1024 * 1024


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One stored release, as `apx release list` shows it. Annotations are not signed."""

    digest: str
    product: str
    stored_at: float
    annotations: dict[str, str] = {}
    """`commit`, `built_by`: for people; nothing is decided by them."""


class Stored(msgspec.Struct, frozen=True):
    """What is kept of a release beside its parts."""

    listed: Listed
    envelope: bytes


def stored_name(digest: str) -> str:
    """Return a digest's hex digits, for the name of what is stored. Raises `Unsupported`."""
    if not is_digest(digest):
        raise Unsupported(f"{digest[:80]!r} is not a digest (sha256:<64 hex digits>)")
    return digest.removeprefix("sha256:")


class ReleaseStore(Protocol):
    """Content-addressed and append-only.

    - Parts become visible whole or not at all, and before the envelope that names them.
    - Writing what is there already is no error and changes nothing.
    - Reads are not trusted: the caller verifies digests and signatures. A reader stops at `limit_bytes`.
    - Raises `Unavailable` when the store does not answer, `NotFound` for what is not there.
    """

    async def put_blob(self, digest: str, content: bytes) -> None:
        """Store one part under its digest."""
        ...

    async def get_blob(self, digest: str, limit_bytes: int) -> bytes:
        """Return at most `limit_bytes` + 1 bytes of a part (one more shows that it is too long)."""
        ...

    async def put_release(self, listed: Listed, envelope: bytes) -> None:
        """Store the signed envelope of a release."""
        ...

    async def get_release(self, digest: str) -> bytes:
        """Return the envelope of a release, not verified."""
        ...

    def list_releases(self) -> AsyncIterator[Listed]:
        """Yield every stored release, newest first."""
        ...
