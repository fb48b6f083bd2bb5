"""Keys in this process. The fake of the `KeyStore` port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from apx.admission.keys import KeyRecord, KeyStore


class MemoryKeys(KeyStore):
    """Two dictionaries and the queues of those who listen."""

    def __init__(self) -> None:
        self._records: dict[str, KeyRecord] = {}
        self._prefixes: set[str] = set()
        self._listeners: set[asyncio.Queue[str]] = set()
        self.looked_up = 0

    async def find(self, sha256: str) -> KeyRecord | None:
        """Return the record of the key with this hash."""
        self.looked_up += 1
        return self._records.get(sha256)

    async def named(self, key_id: str) -> KeyRecord | None:
        """Return the record of the key with this id."""
        return next((record for record in self._records.values() if record.id == key_id), None)

    async def put(self, record: KeyRecord) -> None:
        """Store a new key."""
        self._records[record.sha256] = record
        self._tell(record.sha256)

    async def replace(self, before: KeyRecord, after: KeyRecord, beside: KeyRecord | None = None) -> bool:
        """Store `after` in place of `before`, and a new one `beside`; False: it is no more so."""
        if self._records.get(before.sha256) != before:
            return False
        for record in (after, beside):
            if record is not None:
                await self.put(record)
        return True

    async def revoke(self, key_id: str) -> KeyRecord | None:
        """Forget a key for good; return what it was."""
        for record in list(self._records.values()):
            if record.id == key_id:
                del self._records[record.sha256]
                self._tell(record.sha256)
                return record
        return None

    async def list_keys(self, org: str | None = None) -> list[KeyRecord]:
        """Return all keys, or an org's."""
        records = [record for record in self._records.values() if org in (None, record.org)]
        return sorted(records, key=lambda r: (r.org, r.created_ms, r.id))

    async def declare(self, prefix: str) -> None:
        """Note that keys with this prefix are imported."""
        self._prefixes.add(prefix)

    async def prefixes(self) -> set[str]:
        """Return the prefixes that were declared."""
        return set(self._prefixes)

    async def changes(self) -> AsyncIterator[str]:
        """Yield the hash of each key that changed; an empty string first."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield ""
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    def _tell(self, sha256: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(sha256)
