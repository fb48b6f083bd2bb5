"""Live releases and their audit entries in Firestore. The `RolloutStore` port.

- `rollouts/<product>`: its `state` (msgpack), its own `revision`, and the revision of the `whole` at its last change.
- `rollouts-meta/revision`: the whole's `revision`; each change moves it by one, so it is the position of events too.
- `audit/<position>`: an `entry` (msgpack), its `position`, and its `place`, `<product>/<position>`: in one field, so
  that a product's newest entries are found by the index that Firestore has of every field.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import msgspec
from google.api_core.exceptions import Aborted, AlreadyExists, FailedPrecondition, NotFound
from google.cloud.firestore import AsyncClient, AsyncDocumentReference, AsyncWriteBatch, FieldFilter
from google.cloud.firestore_v1.async_query import AsyncQuery
from google.cloud.firestore_v1.base_document import DocumentSnapshot
from google.cloud.firestore_v1.types import Target

from apx.backends.gcp import names
from apx.backends.gcp.connection import CALL_TIMEOUT_S, unavailable
from apx.backends.gcp.firestore import Listener, bounded, database, once, server_time
from apx.errors import Conflict, Unavailable
from apx.rollout.active import MOST_EVENTS, Active, AuditEntry, Snapshot

_TRIES, _PAUSE_S, _PAGE = 30, 0.01, 200
_POSITION = re.compile("[0-9]{1,15}")
_FIRST = (Aborted, AlreadyExists, FailedPrecondition, NotFound)
"""What Firestore says of a write when another was first."""

_Found = DocumentSnapshot[AsyncDocumentReference]


class FirestoreRollouts:
    """One change is one atomic write of three documents, under the condition that none of them has changed."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._states, self._audit = client.collection(names.ROLLOUTS), client.collection(names.AUDIT)
        self._whole = client.document("rollouts-meta", "revision")

    async def read(self) -> Snapshot:
        """Return the live state of all products, by one query: all as they were at one moment."""
        with unavailable("reading the live releases"):
            found = await self._states.get(**bounded())
        revision = max((one.get("whole") for one in found), default=0)
        return Snapshot(revision=revision, products={one.id: _state(one) for one in found})

    async def change(self, new: Active, audit: AuditEntry) -> Active:
        """Set a product's state when its revision still is `new.revision`.

        Repeated while only other products were changed meanwhile, for `CALL_TIMEOUT_S` at most.
        """
        changed = msgspec.structs.replace(new, revision=new.revision + 1)
        with unavailable(f"changing {new.product}"):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                for attempt in range(_TRIES):
                    if await self._changed(changed, audit):
                        return changed
                    await asyncio.sleep(_PAUSE_S * attempt)
        raise Unavailable(f"changing {new.product}: {_TRIES} others changed other products first; try again")

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Yield the live state now, whenever it changes, and every two seconds.

        Ends with `Unavailable`, too, when the store holds an older revision than it did: it was put back.
        """
        seen = await self.read()
        yield seen
        async with Listener(self._client, self._target) as listener:
            while True:
                await listener.next()
                seen = await self._newer(seen)
                yield seen

    async def history(self, product: str, limit: int = 50) -> list[AuditEntry]:
        """Return the newest entries of a product, newest first."""
        newest = self._audit.where(filter=FieldFilter("place", ">", f"{product}/"))
        newest = newest.where(filter=FieldFilter("place", "<", f"{product}/:"))  # ":" comes after "9"
        newest = newest.order_by("place", direction=AsyncQuery.DESCENDING).limit(limit)
        with unavailable("reading the history"):
            found = await newest.get(**bounded())
        return [_entry(one) for one in found]

    async def events(self, after: str = "") -> AsyncIterator[tuple[str, AuditEntry]]:
        """Yield every change with its position in `audit`, at once and every two seconds what was missed."""
        position = await self._start(after)
        async with Listener(self._client, self._target) as listener:
            while True:
                page = await self._page(position)
                for one in page:
                    position = one.get("position")
                    yield str(position), _entry(one)
                if len(page) < _PAGE:
                    await listener.next()

    async def now_ms(self) -> int:
        """Return the service's clock."""
        return int((await server_time(self._client)).timestamp() * 1000)

    async def _changed(self, changed: Active, audit: AuditEntry) -> bool:
        """Try once; False when others were first. Raises `Conflict` when they changed this product."""
        state, whole = await self._before(changed.product)
        revision, expected = _revision(state), changed.revision - 1
        if revision != expected:
            raise Conflict(
                f"{changed.product} is at revision {revision}, not {expected}: somebody changed it first; look again"
            )
        batch, position = self._client.batch(), _revision(whole) + 1
        fields = {names.STATE: msgspec.msgpack.encode(changed), "revision": changed.revision, "whole": position}
        self._replace(batch, state, fields)
        self._replace(batch, whole, {"revision": position})
        batch.create(self._audit.document(f"{position:015}"), _audited(audit, changed.product, position))
        try:
            await batch.commit(**once())
        except _FIRST:
            return False
        return True

    async def _before(self, product: str) -> tuple[_Found, _Found]:
        references = [self._states.document(product), self._whole]
        found = {one.reference.path: one async for one in self._client.get_all(references, **bounded())}
        return found[references[0].path], found[references[1].path]

    def _replace(self, batch: AsyncWriteBatch, before: _Found, fields: dict[str, object]) -> None:
        """Write a document under the condition that it still is as it was read."""
        if before.exists:
            unchanged = self._client.write_option(last_update_time=before.update_time)
            batch.update(before.reference, fields, option=unchanged)
        else:
            batch.create(before.reference, fields)

    async def _newer(self, seen: Snapshot) -> Snapshot:
        revision = await self._last()
        if revision < seen.revision:
            raise Unavailable(f"watching the live releases: the store went back from {seen.revision} to {revision}")
        return seen if revision == seen.revision else await self.read()

    async def _last(self) -> int:
        with unavailable("asking for the newest change"):
            return _revision(await self._whole.get(**bounded()))

    async def _start(self, after: str) -> int:
        """Return the position that `events` begins after."""
        last = await self._last()
        known = _POSITION.fullmatch(after) is not None and int(after) <= last
        position = int(after) if known else 0 if after else last
        return max(position, last - MOST_EVENTS)

    async def _page(self, position: int) -> list[_Found]:
        later = self._audit.where(filter=FieldFilter("position", ">", position)).order_by("position")
        with unavailable("reading what was changed"):
            return list(await later.limit(_PAGE).get(**bounded()))

    async def _target(self) -> Target:
        path = f"{database(self._client)}/documents/{self._whole.path}"
        return Target(documents=Target.DocumentsTarget(documents=[path]), target_id=1)


def _revision(found: _Found) -> int:
    return int(found.get("revision")) if found.exists else 0


def _state(found: _Found) -> Active:
    return msgspec.msgpack.decode(found.get(names.STATE), type=Active)


def _entry(found: _Found) -> AuditEntry:
    return msgspec.msgpack.decode(found.get(names.ENTRY), type=AuditEntry)


def _audited(audit: AuditEntry, product: str, position: int) -> dict[str, object]:
    return {names.ENTRY: msgspec.msgpack.encode(audit), "position": position, "place": f"{product}/{position:015}"}
