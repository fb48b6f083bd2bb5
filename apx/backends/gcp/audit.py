"""The audit log in Firestore. The `AuditStore` port.

`audit-chain/<number>`: an `entry` (JSON) and its `number`. `audit-chain-meta/head`: the head (JSON).
`audit-checkpoints/<number>`: a checkpoint's fields.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from google.api_core.exceptions import Aborted, AlreadyExists, FailedPrecondition, NotFound
from google.cloud.firestore import AsyncClient, AsyncDocumentReference
from google.cloud.firestore_v1.async_query import AsyncQuery
from google.cloud.firestore_v1.base_document import DocumentSnapshot

from apx.audit.checkpoint import Checkpoint
from apx.audit.entry import Change, Entry, Head, canonical, dump, load
from apx.audit.store import MOST_CHECKPOINTS, Mirrored, compare_and_append
from apx.backends.gcp import names
from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.firestore import bounded, once
from apx.errors import Conflict

_FIRST = (Aborted, FailedPrecondition, NotFound)
"""What Firestore says of a write when another was first."""

_Found = DocumentSnapshot[AsyncDocumentReference]


class FirestoreAudit:
    """An append is one atomic write of the entries and the head, under the condition that the head has not changed."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._chain, self._seals = client.collection(names.CHAIN), client.collection(names.CHECKPOINTS)
        self._head = client.document(f"{names.CHAIN}-meta", "head")

    async def append(self, changes: Sequence[Change], *, mirrored: Mirrored | None = None) -> list[Entry]:
        """Append changes behind the head."""
        return await compare_and_append(self._look, self._swap, changes, mirrored)

    async def read(self, after: int = 0, limit: int = 500) -> list[Entry]:
        """Return the entries behind a number."""
        later = self._chain.order_by("__name__").start_after([self._chain.document(_name(after))]).limit(limit)
        with unavailable("reading the audit log"):
            found = await later.get(**bounded())
        return [load(int(one.id), (one.to_dict() or {}).get(names.ENTRY, b"")) for one in found]

    async def head(self) -> Head:
        """Return where the log ends."""
        with unavailable("reading the head of the audit log"):
            return _head(await self._head.get(**bounded()))

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, and remove the oldest when there are too many."""
        with unavailable("keeping a checkpoint of the audit log"):
            fields = msgspec.to_builtins(checkpoint)
            await self._seals.document(_name(checkpoint.number)).set(fields, **bounded())
            newest = self._seals.order_by("number", direction=AsyncQuery.DESCENDING)
            for one in await newest.offset(MOST_CHECKPOINTS).limit(1).get(**bounded()):
                await one.reference.delete(**bounded())

    async def checkpoints(self) -> list[Checkpoint]:
        """Return those that are kept."""
        with unavailable("reading the checkpoints of the audit log"):
            found = await self._seals.order_by("number").get(**bounded())
        return [msgspec.convert(one.to_dict(), Checkpoint) for one in found]

    async def _look(self) -> tuple[Head, int, _Found]:
        with unavailable("reading the head of the audit log"):
            found = await self._head.get(**bounded())
        return _head(found), int(found.read_time.timestamp() * 1000), found

    async def _swap(self, seen: _Found, new: Head, entries: list[Entry]) -> bool:
        batch, fields = self._client.batch(), {"head": canonical(new)}
        if seen.exists:
            batch.update(self._head, fields, option=self._client.write_option(last_update_time=seen.update_time))
        else:
            batch.create(self._head, fields)
        for entry in entries:
            batch.create(self._chain.document(_name(entry.number)), {names.ENTRY: dump(entry), "number": entry.number})
        try:
            with unavailable("appending to the audit log"):
                try:
                    await batch.commit(**once())
                except _FIRST:
                    return False
        except AlreadyExists as error:
            if (await self.head()) != _head(seen):
                return False
            raise Conflict("the audit log goes on behind its head; `apx audit verify` says where") from error
        return True


def _head(found: _Found) -> Head:
    return msgspec.json.decode(found.get("head"), type=Head) if found.exists else Head()


def _name(number: int) -> str:
    return f"{number:015}"
