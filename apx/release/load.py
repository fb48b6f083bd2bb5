"""Load a release: signature first, then digests, then the parts, each up to its signed length. Nothing is trusted."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from apx.errors import ReleaseRejected
from apx.release.digest import digest_of, is_digest, short
from apx.release.model import PAYLOAD_TYPE, Blob, Manifest, Release
from apx.release.signing import unseal
from apx.release.store import ReleaseStore

MAX_PART_BYTES = 32 * 1024 * 1024


class Loader:
    """Reads releases from a store and lets only whole, signed, fitting ones through."""

    def __init__(self, store: ReleaseStore, trusted: Mapping[str, Ed25519PublicKey]) -> None:
        self._store = store
        self._trusted = trusted

    async def manifest(self, digest: str, product: str | None = None) -> Manifest:
        """Return a release's verified manifest.

        Raises `ReleaseRejected` (with the reason), `NotFound` or `Unavailable`. With `product`, a release of another
        product is refused: a pointer that was mixed up must not serve.
        """
        if not is_digest(digest):
            raise ReleaseRejected(f"{digest[:80]!r} is not a digest (sha256:<64 hex digits>)")
        payload = unseal(PAYLOAD_TYPE, await self._store.get_release(digest), self._trusted)
        if digest_of(payload) != digest:
            raise ReleaseRejected(f"{short(digest)}: the envelope holds another release, {short(digest_of(payload))}")
        try:
            manifest = msgspec.json.decode(payload, type=Manifest)
        except msgspec.MsgspecError as error:
            raise ReleaseRejected(f"{short(digest)}: the manifest is not of this version: {error}") from error
        if product is not None and manifest.product != product:
            raise ReleaseRejected(f"{short(digest)} is a release of {manifest.product!r}, not of {product!r}")
        return manifest

    async def load(self, digest: str, product: str | None = None) -> Release:
        """Return a whole verified release. Raises as `manifest` does."""
        manifest = await self.manifest(digest, product)
        return Release(
            digest=digest,
            manifest=manifest,
            wasm=await self._part(digest, "policy.wasm", manifest.policy.wasm),
            data=await self._part(digest, "policy data", manifest.policy.data),
            openapi=await self._part(digest, "OpenAPI document", manifest.openapi) if manifest.openapi else None,
        )

    async def _part(self, release: str, name: str, blob: Blob) -> bytes:
        if not is_digest(blob.digest) or not 0 <= blob.size_bytes <= MAX_PART_BYTES:
            raise ReleaseRejected(f"{short(release)}: {name}: {blob} is not an acceptable part")
        content = await self._store.get_blob(blob.digest, blob.size_bytes)
        if len(content) != blob.size_bytes or digest_of(content) != blob.digest:
            raise ReleaseRejected(
                f"{short(release)}: {name}: {len(content)} bytes with digest {short(digest_of(content))}, "
                f"signed were {blob.size_bytes} bytes with {short(blob.digest)}: fetch or build the release again"
            )
        return content
