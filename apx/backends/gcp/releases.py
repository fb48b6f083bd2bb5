"""Releases in Cloud Storage: `blobs/<hex>` for parts, `releases/<hex>.json` for envelopes. The `ReleaseStore` port.

An object is visible when it is whole. One that is there and the same stays untouched; a damaged one is replaced.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial

import msgspec
from google.cloud.storage import Bucket

from apx.backends.gcp.objects import Objects, content_of, together
from apx.errors import NotFound
from apx.release.store import MOST_ENVELOPE_BYTES, Listed, Stored, stored_name

_RELEASE = re.compile(r"releases/([0-9a-f]{64})\.json")


class GcsReleaseStore:
    """One bucket. Raises `Unavailable` within the call's bound, and `Misconfigured` for an identity that is refused."""

    def __init__(self, bucket: Bucket) -> None:
        self._objects = Objects(bucket)

    async def put_blob(self, digest: str, content: bytes) -> None:
        """Store one part under its digest."""
        await self._objects.store(f"blobs/{stored_name(digest)}", content_of(content))

    async def get_blob(self, digest: str, limit_bytes: int) -> bytes:
        """Return at most `limit_bytes` + 1 bytes of a part."""
        return await self._objects.read(f"blobs/{stored_name(digest)}", start=0, end=limit_bytes + 1)

    async def put_release(self, listed: Listed, envelope: bytes) -> None:
        """Store the signed envelope of a release."""
        content = msgspec.json.encode(Stored(listed=listed, envelope=envelope))
        await self._objects.store(f"releases/{stored_name(listed.digest)}.json", content_of(content))

    async def get_release(self, digest: str) -> bytes:
        """Return the envelope of a release, not verified."""
        stored = await self._read(f"releases/{stored_name(digest)}.json")
        return stored.envelope if stored else b""  # what cannot be read has no valid signature: the loader refuses it

    async def list_releases(self) -> AsyncIterator[Listed]:
        """Yield every stored release, newest first; objects that are none are passed over."""
        found: list[Listed] = []
        async for page in self._objects.pages("releases/"):
            names = [match for seen in page if (match := _RELEASE.fullmatch(seen.name))]
            listed = await together([partial(self._listed, match[0], f"sha256:{match[1]}") for match in names])
            found += [one for one in listed if one is not None]
        for one in sorted(found, key=lambda listed: (listed.stored_at, listed.digest), reverse=True):
            yield one

    async def _listed(self, name: str, digest: str) -> Listed | None:
        try:
            stored = await self._read(name)
        except NotFound:  # gone since it was listed
            return None
        return stored.listed if stored and stored.listed.digest == digest else None

    async def _read(self, name: str) -> Stored | None:
        content = await self._objects.read(name, start=0, end=MOST_ENVELOPE_BYTES)
        try:
            return msgspec.json.decode(content, type=Stored)
        except (msgspec.MsgspecError, ValueError):
            return None
