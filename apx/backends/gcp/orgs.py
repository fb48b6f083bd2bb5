"""Orgs' states in Firestore: `orgs/<org>` holds a `state` and `terms` (msgpack). The `OrgStore` port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from google.cloud.firestore import SERVER_TIMESTAMP, AsyncClient, AsyncDocumentReference
from google.cloud.firestore_v1.base_document import DocumentSnapshot
from google.cloud.firestore_v1.types import Document, Target

from apx.admission.orgs import OrgState, OrgStore, OrgTerms, kept_state
from apx.backends.gcp import names
from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.firestore import Listener, Signal, bounded, once, query_target


class FirestoreOrgs(OrgStore):
    """Each change is one write, kept by Firestore when it returns; the listener tells of it."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._orgs = client.collection(names.ORGS)

    async def find(self, org: str) -> OrgState | None:
        """Return an org's state. What can be no document's name is no org."""
        if not org or "/" in org or org in (".", ".."):
            return None
        with unavailable("looking up an org"):
            found = await self._orgs.document(org).get(**bounded())
        return _state(found) if found.exists else None

    async def put(self, state: OrgState) -> None:
        """Let a state hold from now on, its terms aside."""
        await self._put(state.org, names.STATE, msgspec.msgpack.encode(msgspec.structs.replace(state, terms=None)))

    async def put_terms(self, org: str, terms: OrgTerms) -> None:
        """Let terms hold from now on."""
        await self._put(org, names.TERMS, msgspec.msgpack.encode(terms))

    async def _put(self, org: str, field: str, kept: bytes) -> None:
        """Write once: repeated, a resumption whose answer was lost might end a suspension that came after it."""
        with unavailable("changing an org"):
            await self._orgs.document(org).set({field: kept, "at": SERVER_TIMESTAMP}, merge=True, **once())

    async def list_orgs(self) -> list[OrgState]:
        """Return all states, by org."""
        with unavailable("listing orgs"):
            found = await self._orgs.get(**bounded())
        return sorted(map(_state, found), key=lambda state: state.org)

    async def changes(self) -> AsyncIterator[str]:
        """Yield the name of each org that changed; an empty text whenever listening begins, is lost, or was quiet."""
        listening = False
        async with Listener(self._client, self._target) as listener:
            while True:
                one = await listener.next()
                if isinstance(one, Document):
                    if listening:
                        yield one.name.rpartition("/")[2]
                    continue
                if one is not Signal.QUIET:
                    listening = one is Signal.BEGUN
                yield ""

    async def _target(self) -> Target:
        return query_target(self._client, self._orgs.order_by("__name__"))


def _state(found: DocumentSnapshot[AsyncDocumentReference]) -> OrgState:
    kept = found.to_dict() or {}
    return kept_state(found.id, kept.get(names.STATE), kept.get(names.TERMS))
