"""The Idempotency-Key field: its syntax, the name of its record, and the fingerprint of a request.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import re

MOST_CHARACTERS = 255

_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_ESCAPE = re.compile(r'\\(["\\])')


def parse_key(header: str) -> str | None:
    r"""Return the key in an `Idempotency-Key` field, or None when it is none: the caller answers 400.

    Accepted are 1 to 255 printable ASCII characters, bare as most clients send them, or as the draft's structured
    string (RFC 8941, section 3.3.3): `"abc"` and `abc` are the same key; inside quotes `\"` and `\\` are escapes.
    """
    text = header.strip(" \t")
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            return None
        text = _ESCAPE.sub(r"\1", quoted[1])
    return text if len(text) <= MOST_CHARACTERS and _PRINTABLE.fullmatch(text) else None


def key_name(org: str, product: str, key: str) -> str:
    """Return the name of the record of one org's key for one product: independent of every other org's."""
    return _digest(b"apx.dev/idempotency/name/v1", org.encode(), product.encode(), key.encode())[:40]


def fingerprint(method: str, path: str, query: str, body: bytes) -> str:
    """Return the SHA-256 (hex) of what makes two requests the same."""
    return _digest(b"apx.dev/idempotency/fingerprint/v1", method.encode(), path.encode(), query.encode(), body)


def _digest(*parts: bytes) -> str:
    """Hash parts, each after its length, so that no two lists of parts give the same bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
