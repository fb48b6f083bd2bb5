"""API keys: their form, and the record that stands for one.

`apx_<environment>_<27 base62 digits><6 base62 digits>`: 160 random bits, then the CRC-32 of all before it, so that a
scanner or the router rejects a typo without a look-up. Only the SHA-256 of a key is ever stored: with 160 random bits
there is nothing to guess, and a slow hash would add milliseconds to each request.

Keys of other systems are imported as hashes. They have a prefix of their own, which is declared with them, and no
checksum that could be looked at here.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from apx.catalog.model import Per, Rate

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS, _CHECK_DIGITS, _SECRET_BYTES = 27, 6, 20
ENVIRONMENT = re.compile(r"[a-z0-9]{1,16}")
_FORM = re.compile(rf"apx_{ENVIRONMENT.pattern}_[0-9A-Za-z]{{{_SECRET_DIGITS + _CHECK_DIGITS}}}")
_ANYWHERE = re.compile(rf"(?=({_FORM.pattern}))")
"""Also one that begins within what looks like another."""
OURS = "apx_"
FOREIGN_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{2,31}")
MAX_FOREIGN_CHARACTERS = 256
MAX_KEY_CHARACTERS = 4 + 16 + 1 + _SECRET_DIGITS + _CHECK_DIGITS


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key. The key itself is nowhere."""

    id: str
    """Public name of the key: `key_…`; safe in logs."""
    sha256: str
    org: str
    region: str
    plans: dict[str, str]
    """Product → plan that this key may use it under."""
    created_ms: int
    note: str = ""
    expires_ms: int | None = None
    """From then on it is refused as if there were none."""
    scopes: dict[str, tuple[str, ...]] = {}
    """Product → methods, none meaning all of them. Where there is any, what is not named is refused."""
    allowlist: tuple[str, ...] = ()
    """Networks (CIDR) that it may be used from; none: from everywhere."""
    metadata: dict[str, str] = {}
    """The owner's own; APX does not read it."""
    environment: str = ""
    """What its prefix names; empty of an imported key, and of one from before this was kept."""
    replaced_by: str = ""
    """The key that a rotation made of it; it works beside that one until `expires_ms`."""
    prefix: str = ""
    """What an imported key begins with; empty of a key of ours."""
    rate: Rate | None = None
    """Its own over all its products, beside those of its plans."""
    quotas: dict[Per, int] = {}
    """Hour, day or month → requests of all its products in each."""
    family: str = ""
    """The first of the keys that rotations made one after the other; empty of that one itself."""

    @property
    def counted_as(self) -> str:
        """What its limits are counted under: a rotated key goes on where the one before it stood."""
        return self.family or self.id


class KeyStore(Protocol):
    """Keys by their hash.

    - `put`, `replace`, `revoke` and `declare` are durable when they return. Every process hears of the first three
      through `changes`.
    - `replace` is atomic, and what was revoked or changed meanwhile stays so. When it raises `Unavailable` it may or
      may not have been done.
    - `find` of an unknown hash is None; a store that does not answer is `Unavailable`, never None.
    """

    async def find(self, sha256: str) -> KeyRecord | None:
        """Return the record of the key with this hash."""
        ...

    async def named(self, key_id: str) -> KeyRecord | None:
        """Return the record of the key with this id."""
        ...

    async def put(self, record: KeyRecord) -> None:
        """Store a new key."""
        ...

    async def replace(self, before: KeyRecord, after: KeyRecord, beside: KeyRecord | None = None) -> bool:
        """Store `after`, of the same key, in place of `before`, and a new one `beside`; False: it is no more so."""
        ...

    async def revoke(self, key_id: str) -> KeyRecord | None:
        """Forget a key for good; return what it was."""
        ...

    async def list_keys(self, org: str | None = None) -> list[KeyRecord]:
        """Return all keys, or an org's."""
        ...

    async def declare(self, prefix: str) -> None:
        """Note that keys with this prefix are imported."""
        ...

    async def prefixes(self) -> set[str]:
        """Return the prefixes that were declared."""
        ...

    def changes(self) -> AsyncIterator[str]:
        """Yield the hash of each key that changed from now on; an empty string where some may have been missed."""
        ...


def shown_key(record: KeyRecord) -> dict[str, object]:
    """Show operators what is known of a key; its hash is nobody's business."""
    return {
        "id": record.id,
        "org": record.org,
        "plans": record.plans,
        "created_ms": record.created_ms,
        "expires_ms": record.expires_ms,
        "note": record.note,
        "scopes": record.scopes,
        "allowlist": record.allowlist,
        "metadata": record.metadata,
        "rate": msgspec.to_builtins(record.rate),
        "quotas": record.quotas,
        "family": record.family,
        "replaced_by": record.replaced_by,
        "prefix": record.prefix or f"{OURS}{record.environment}",
    }


def limits_text(record: KeyRecord) -> str:
    """Return a key's own limits in short: `5 a second (burst 10), 1000 a day`; nothing of one without any."""
    rate = [f"{record.rate.per_second:g} a second (burst {record.rate.burst})"] if record.rate is not None else []
    return ", ".join(
        rate + [f"{requests} a{'n' if per == 'hour' else ''} {per}" for per, requests in record.quotas.items()]
    )


def mint(environment: str, random_bytes: Callable[[int], bytes]) -> str:
    """Make a new key; `environment` is 1 to 16 lower-case letters and digits."""
    body = f"apx_{environment}_{_base62(int.from_bytes(random_bytes(_SECRET_BYTES)), _SECRET_DIGITS)}"
    return body + _check(body)


def well_formed(key: str) -> bool:
    """Tell whether `key` has the form of a key and its checksum fits. Never raises."""
    if len(key) > MAX_KEY_CHARACTERS or _FORM.fullmatch(key) is None:
        return False
    return _check(key[:-_CHECK_DIGITS]) == key[-_CHECK_DIGITS:]


def find_keys(text: str) -> list[str]:
    """Return all that has the form of a key in a text, checksums not looked at."""
    return _ANYWHERE.findall(text)


def sha256_of(key: str) -> str:
    """Return the hash under which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        text = _DIGITS[digit] + text
    return text
