"""Keys in Valkey: `apx:key:<sha256>` holds a record, `apx:keys` maps id → sha256. The `KeyStore` port.

`apx:keys:prefixes` is the set of what imported keys begin with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import cast

import msgspec
from valkey.asyncio import Valkey
from valkey.asyncio.client import Pipeline
from valkey.exceptions import WatchError

from apx.admission.keys import KeyRecord
from apx.backends.valkey.connection import unavailable
from apx.backends.valkey.feed import listen
from apx.backends.valkey.log import Log

_INDEX, _CHANNEL, _PREFIXES = "apx:keys", "apx:keys:changed", "apx:keys:prefixes"


class ValkeyKeys:
    """Each change is one transaction that also tells every process, and is on the store's disk when it returns."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._log = Log(client)

    async def find(self, sha256: str) -> KeyRecord | None:
        """Return the record of the key with this hash."""
        with unavailable("looking up a key"):
            found = await self._client.get(_name(sha256))
        return None if found is None else msgspec.msgpack.decode(found, type=KeyRecord)

    async def named(self, key_id: str) -> KeyRecord | None:
        """Return the record of the key with this id."""
        with unavailable("looking up a key"):
            sha256 = await cast("Awaitable[bytes | None]", self._client.hget(_INDEX, key_id))
        return None if sha256 is None else await self.find(sha256.decode())

    async def put(self, record: KeyRecord) -> None:
        """Store a new key."""
        with unavailable("storing a key"):
            async with self._client.pipeline(transaction=True) as step:
                _set(step, record)
                await step.execute()
            await self._log.settle()

    async def replace(self, before: KeyRecord, after: KeyRecord, beside: KeyRecord | None = None) -> bool:
        """Store `after` in place of `before`, and a new one `beside`; False: it is no more so."""
        with unavailable("replacing a key"):
            async with self._client.pipeline(transaction=True) as step:
                await step.watch(_name(before.sha256))
                found = await cast("Awaitable[bytes | None]", step.get(_name(before.sha256)))
                if found is None or msgspec.msgpack.decode(found, type=KeyRecord) != before:
                    return False
                step.multi()  # type: ignore[no-untyped-call]
                _set(step, after)
                if beside is not None:
                    _set(step, beside)
                try:
                    await step.execute()
                except WatchError:
                    return False
            await self._log.settle()
        return True

    async def revoke(self, key_id: str) -> KeyRecord | None:
        """Forget a key for good; return what it was."""
        with unavailable("revoking a key"):
            sha256 = await cast("Awaitable[bytes | None]", self._client.hget(_INDEX, key_id))
            if sha256 is None:
                return None
            record = await self.find(sha256.decode())
            async with self._client.pipeline(transaction=True) as step:
                step.delete(_name(sha256.decode()))
                step.hdel(_INDEX, key_id)
                step.publish(_CHANNEL, sha256)
                await step.execute()
            await self._log.settle()
        return record

    async def list_keys(self, org: str | None = None) -> list[KeyRecord]:
        """Return all keys, or an org's."""
        with unavailable("listing keys"):
            hashes = await cast("Awaitable[list[bytes]]", self._client.hvals(_INDEX))
            found = await self._client.mget([_name(sha256.decode()) for sha256 in hashes]) if hashes else []
        records = [msgspec.msgpack.decode(item, type=KeyRecord) for item in found if item is not None]
        return sorted((r for r in records if org in (None, r.org)), key=lambda r: (r.org, r.created_ms, r.id))

    async def declare(self, prefix: str) -> None:
        """Note that keys with this prefix are imported."""
        with unavailable("declaring a prefix"):
            await cast("Awaitable[int]", self._client.sadd(_PREFIXES, prefix))
            await self._log.settle()

    async def prefixes(self) -> set[str]:
        """Return the prefixes that were declared."""
        with unavailable("reading the prefixes"):
            found = await cast("Awaitable[set[bytes]]", self._client.smembers(_PREFIXES))
        return {prefix.decode() for prefix in found}

    async def changes(self) -> AsyncIterator[str]:
        """Yield the hash of each key that changed; an empty string at the start of each connection."""
        fresh = True
        async for message in listen(self._client, _CHANNEL):
            if message is not None:
                yield message.decode()
            elif fresh:
                yield ""
            fresh = False


def _set(step: Pipeline, record: KeyRecord) -> None:
    step.set(_name(record.sha256), msgspec.msgpack.encode(record))
    step.hset(_INDEX, record.id, record.sha256)
    step.publish(_CHANNEL, record.sha256)


def _name(sha256: str) -> str:
    return f"apx:key:{sha256}"
