"""Keys in Firestore. The `KeyStore` port.

`keys/<sha256>` holds a record (`record`, msgpack) with what it is looked for by (`id`, `org`). Each change also writes
one document of `key-changes` (`sha256`, `at` by the service's clock): who listens to these need not read every key when
it begins. They are of no use after minutes: a TTL policy on `key-changes.forget_at` has Firestore delete them.
`key-prefixes` holds what imported keys begin with.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator

import msgspec
from google.api_core.exceptions import Aborted, FailedPrecondition, NotFound
from google.cloud.firestore import SERVER_TIMESTAMP, AsyncClient, AsyncDocumentReference, AsyncWriteBatch, FieldFilter
from google.cloud.firestore_v1.async_query import AsyncQuery
from google.cloud.firestore_v1.base_document import DocumentSnapshot
from google.cloud.firestore_v1.types import Document, Target

from apx.admission.keys import KeyRecord
from apx.backends.gcp import names
from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.firestore import POLL_EVERY_S, Listener, Signal, bounded, once, query_target, server_time
from apx.clock import Clock, SystemClock
from apx.errors import Unavailable

_SHA256 = re.compile("[0-9a-f]{64}")
_KEEP_CHANGES = dt.timedelta(days=1)
_LONGEST_WRITE = dt.timedelta(minutes=1)
"""`at` is when the service took a write up, which is before it can be seen; by no more than this."""


class FirestoreKeys:
    """Each change is one atomic write of a key and of its notice, and is kept by Firestore when it returns."""

    def __init__(self, client: AsyncClient, clock: Clock | None = None) -> None:
        """Use a client's database; `clock` says when a notice may be forgotten."""
        self._client = client
        self._clock = clock or SystemClock()
        self._keys = client.collection(names.KEYS)

    async def find(self, sha256: str) -> KeyRecord | None:
        """Return the record of the key with this hash. What is no hash is no document's name either, and is None."""
        if _SHA256.fullmatch(sha256) is None:
            return None
        with unavailable("looking up a key"):
            found = await self._keys.document(sha256).get(**bounded())
        return _record(found) if found.exists else None

    async def named(self, key_id: str) -> KeyRecord | None:
        """Return the record of the key with this id."""
        with unavailable("looking up a key"):
            found = await self._named(key_id)
        return None if found is None else _record(found)

    async def put(self, record: KeyRecord) -> None:
        """Store a new key."""
        with unavailable("storing a key"):
            batch = self._telling(record.sha256)
            batch.set(self._keys.document(record.sha256), _fields(record))
            await batch.commit(**bounded())

    async def replace(self, before: KeyRecord, after: KeyRecord, beside: KeyRecord | None = None) -> bool:
        """Store `after` in place of `before`, and a new one `beside`; False: it is no more so."""
        with unavailable("replacing a key"):
            found = await self._keys.document(before.sha256).get(**bounded())
            if not found.exists or _record(found) != before:
                return False
            new = () if beside is None else (beside,)
            batch = self._telling(*(record.sha256 for record in (after, *new)))
            unchanged = self._client.write_option(last_update_time=found.update_time)
            batch.update(found.reference, _fields(after), option=unchanged)
            for record in new:
                batch.set(self._keys.document(record.sha256), _fields(record))
            try:
                await batch.commit(**once())
            except (Aborted, FailedPrecondition, NotFound):
                return False
        return True

    async def revoke(self, key_id: str) -> KeyRecord | None:
        """Forget a key for good; return what it was."""
        with unavailable("revoking a key"):
            found = await self._named(key_id)
            if found is None:
                return None
            batch = self._telling(found.id)
            batch.delete(found.reference)
            await batch.commit(**bounded())
        return _record(found)

    async def _named(self, key_id: str) -> DocumentSnapshot[AsyncDocumentReference] | None:
        found = await self._keys.where(filter=FieldFilter("id", "==", key_id)).limit(1).get(**bounded())
        return found[0] if found else None

    async def list_keys(self, org: str | None = None) -> list[KeyRecord]:
        """Return all keys, or an org's."""
        asked = self._keys if org is None else self._keys.where(filter=FieldFilter("org", "==", org))
        with unavailable("listing keys"):
            found = await asked.get(**bounded())
        return sorted(map(_record, found), key=lambda r: (r.org, r.created_ms, r.id))

    async def declare(self, prefix: str) -> None:
        """Note that keys with this prefix are imported."""
        with unavailable("declaring a prefix"):
            document = self._client.collection(names.KEY_PREFIXES).document(f"p:{prefix}")
            await document.set({"prefix": prefix}, **bounded())

    async def prefixes(self) -> set[str]:
        """Return the prefixes that were declared."""
        with unavailable("reading the prefixes"):
            found = await self._client.collection(names.KEY_PREFIXES).get(**bounded())
        return {one.get("prefix") for one in found}

    async def changes(self) -> AsyncIterator[str]:
        """Yield the hash of each key that changed; an empty string whenever listening begins and when it is lost.

        Raises `Unavailable` when the store is silent for two polls, or holds a change that was not told by the second.
        """
        notices = _Notices(self._client)
        async with Listener(self._client, notices.target) as listener:
            while True:
                one = await listener.next()
                if isinstance(one, Document):
                    if notices.told(one):
                        yield one.fields["sha256"].string_value
                elif one is Signal.QUIET:
                    await notices.check()
                else:
                    notices.heard(one)
                    yield ""

    def _telling(self, *hashes: str) -> AsyncWriteBatch:
        """Return a batch that tells of changes. It may be repeated: the notices keep their names."""
        batch = self._client.batch()
        now = dt.datetime.fromtimestamp(self._clock.time(), dt.UTC)
        for sha256 in hashes:
            fields = {"sha256": sha256, "at": SERVER_TIMESTAMP, names.FORGET: now + _KEEP_CHANGES}
            batch.set(self._client.collection(names.KEY_CHANGES).document(), fields)
        return batch


class _Notices:
    """The notices that one listener is to tell of, and the check that it does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._since = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._listening = False
        self._told: set[str] = set()
        self._owed: set[str] = set()

    async def target(self) -> Target:
        """Ask for the notices from now on."""
        self._since = await server_time(self._client) - _LONGEST_WRITE
        self._told.clear()
        return query_target(self._client, self._query())

    def heard(self, signal: Signal) -> None:
        """Note that the listener has begun or was lost."""
        self._listening = signal is Signal.BEGUN
        self._owed.clear()

    def told(self, notice: Document) -> bool:
        """Note a notice; False for one from before it listened, which `BEGUN` stands for."""
        self._told.add(notice.name.rpartition("/")[2])
        return self._listening

    async def check(self) -> None:
        """Raise `Unavailable` when the listener still owes what the last check missed, or the store does not answer."""
        if self._owed - self._told:
            raise Unavailable("listening for changed keys: not told of all; begin again")
        self._owed = await self._newest() - self._told if self._listening else {"to listen"}

    async def _newest(self) -> set[str]:
        asked = self._query().order_by("at", direction=AsyncQuery.DESCENDING).limit(1)
        with unavailable("listening for changed keys"):
            return {one.id for one in await asked.get(**bounded(POLL_EVERY_S))}

    def _query(self) -> AsyncQuery:
        return self._client.collection(names.KEY_CHANGES).where(filter=FieldFilter("at", ">", self._since))


def _fields(record: KeyRecord) -> dict[str, object]:
    return {"id": record.id, "org": record.org, names.RECORD: msgspec.msgpack.encode(record)}


def _record(found: DocumentSnapshot[AsyncDocumentReference]) -> KeyRecord:
    return msgspec.msgpack.decode(found.get(names.RECORD), type=KeyRecord)
