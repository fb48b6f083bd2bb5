"""Countersigned heads: whoever rewrites the whole chain cannot rewrite these.

HMAC-SHA256 under a secret of the installation's that no store holds; docs/audit.md says why no other key.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from apx.audit.entry import Head, canonical

_PURPOSE = b"apx-audit-checkpoints/v1"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Says that the log had this hash at this number."""

    number: int
    hash: str
    at_ms: int
    """Of the entry."""
    seal: str
    """Hexadecimal HMAC of all before it."""


class Seals:
    """Makes checkpoints, and tells genuine ones."""

    def __init__(self, secret: bytes) -> None:
        """Derive a key for this purpose alone from one of the installation's secrets."""
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)

    def seal(self, head: Head) -> Checkpoint:
        """Countersign a head."""
        return Checkpoint(number=head.number, hash=head.hash, at_ms=head.at_ms, seal=self._seal_of(head))

    def genuine(self, checkpoint: Checkpoint) -> bool:
        """Tell whether a checkpoint was made under this secret, as it reads."""
        return hmac.compare_digest(self._seal_of(checkpoint).encode(), checkpoint.seal.encode("utf-8", "replace"))

    def _seal_of(self, one: Head | Checkpoint) -> str:
        sealed = canonical({"number": one.number, "hash": one.hash, "at_ms": one.at_ms})
        return hmac.digest(self._key, sealed, hashlib.sha256).hex()
