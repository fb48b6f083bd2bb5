"""Keys of ours that turned up where they should not be: find them in any text, and take them back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from apx.admission.keys import MAX_KEY_CHARACTERS, KeyRecord, KeyStore, find_keys, sha256_of, well_formed

_OVERLAP = MAX_KEY_CHARACTERS - 1


def keys_in(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield each well-formed key once, also one that begins in one piece and ends in the next.

    Whatever the encoding: NULs are passed over, so that UTF-16 reads as ASCII does.
    """
    seen: set[str] = set()
    text = ""
    for piece in pieces:
        text += piece.replace(b"\0", b"").decode("latin-1")
        for key in find_keys(text):
            if key not in seen and well_formed(key):
                seen.add(key)
                yield key
        text = text[-_OVERLAP:]


async def revoke_leaked(store: KeyStore, keys: Iterable[str]) -> AsyncIterator[KeyRecord]:
    """Revoke those of these keys that are stored; yield what each was as soon as it is gone. Raises `Unavailable`."""
    for key in keys:
        record = await store.find(sha256_of(key))
        if record is not None:
            await store.revoke(record.id)
            yield record
