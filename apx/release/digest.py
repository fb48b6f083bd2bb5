"""Digests: SHA-256 of bytes, written `sha256:<64 hex>`; and the canonical JSON that a manifest is digested as."""

from __future__ import annotations

import hashlib
import re

import msgspec

from apx.release.model import Blob, Manifest

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(content: bytes) -> str:
    """Return the digest of `content`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def is_digest(text: str) -> bool:
    """Tell whether `text` has a digest's form; nothing else may become part of a path or key."""
    return _DIGEST.fullmatch(text) is not None


def short(digest: str) -> str:
    """Return the first 12 hex digits, for people."""
    return digest.removeprefix("sha256:")[:12]


def blob_of(content: bytes) -> Blob:
    """Name a part by its content."""
    return Blob(digest=digest_of(content), size_bytes=len(content))


def canonical(manifest: Manifest) -> bytes:
    """Return the manifest's canonical JSON: UTF-8, keys sorted, no white space, shortest floats."""
    return msgspec.json.encode(manifest, order="sorted")
