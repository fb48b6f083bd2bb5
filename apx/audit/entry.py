"""What the audit log consists of: entries, each bound to the one before it by its hash.

The hash of entry n is SHA-256 over the hash of entry n-1 and the canonical JSON of entry n (keys sorted, no spaces,
UTF-8, fields at their defaults left out: a field that is added later changes no old hash).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from apx.telemetry.redaction import mask_text

GENESIS = "0" * 64
MOST_CHARACTERS = 500
"""Of each text of an entry; what is longer is cut."""
_PURPOSE = b"apx-audit/v1"
_TEXTS = ("action", "actor", "subject", "source", "org", "product", "before", "after", "why", "origin")


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who changed what, from where and why. Holds no secret: keys by their ids, releases by their digests."""

    action: str
    """`key-create`, `org-suspend`, `rollout-abort` …; with `-failed`, an earlier entry's change did not come about."""
    actor: str
    subject: str
    """What was changed: `key key_1f…`, `org acme`, `product orders`."""
    source: str = ""
    """The address that called, or the machine that the CLI ran on."""
    org: str = ""
    product: str = ""
    before: str = ""
    after: str = ""
    why: str = ""
    done_ms: int = 0
    """When it happened, where it was mirrored from a store of its own."""
    origin: str = ""
    """Its position there."""


class Entry(Change, frozen=True, kw_only=True, omit_defaults=True):
    """A change in its place."""

    number: int
    """From 1, without a gap."""
    at_ms: int
    """By the store's clock; never before the entry in front of it."""
    hash: str
    """Hexadecimal."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chain ends; the next entry is appended by compare-and-swap from here."""

    number: int = 0
    hash: str = GENESIS
    at_ms: int = 0
    mirrored: str = ""
    """The position up to which rollouts are mirrored: it moves with the entry, in one step."""


def chained(head: Head, changes: Sequence[Change], now_ms: int) -> list[Entry]:
    """Return the entries that these changes become behind `head`. Credentials in their texts are masked."""
    entries: list[Entry] = []
    number, previous, at_ms = head.number, head.hash, max(now_ms, head.at_ms)
    for change in changes:
        number += 1
        fields = {name: getattr(change, name) for name in Change.__struct_fields__}
        fields.update({name: _shown(fields[name]) for name in _TEXTS})
        unbound = Entry(number=number, at_ms=at_ms, hash="", **fields)
        previous = hash_of(previous, unbound)
        entries.append(msgspec.structs.replace(unbound, hash=previous))
    return entries


def hash_of(previous: str, entry: Entry) -> str:
    """Return the hash that an entry has to carry behind one with the hash `previous`."""
    hashed = msgspec.to_builtins(entry)
    del hashed["hash"]
    return hashlib.sha256(b"\n".join((_PURPOSE, previous.encode(), canonical(hashed)))).hexdigest()


def canonical(value: object) -> bytes:
    """Return the one JSON form of a value of texts and whole numbers (as RFC 8785 writes these)."""
    return msgspec.json.encode(value, order="sorted")


def dump(entry: Entry) -> bytes:
    """Return an entry as stores keep it."""
    return canonical(entry)


def load(position: int, kept: bytes) -> Entry:
    """Read what a store keeps at a position. What is no entry, or another's, comes back as one whose hash is wrong."""
    try:
        entry = msgspec.json.decode(kept, type=Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Entry(number=position, at_ms=0, hash="", action="unreadable", actor="", subject="")
    return entry if entry.number == position else msgspec.structs.replace(entry, number=position)


def _shown(text: str) -> str:
    return mask_text(text)[:MOST_CHARACTERS]
