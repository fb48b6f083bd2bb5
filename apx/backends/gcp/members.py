"""Members in Firestore: `members/<org>:<who>` holds `org`, `who` and `role`. The `MemberStore` port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from google.api_core.exceptions import Aborted, AlreadyExists, FailedPrecondition, NotFound
from google.cloud.firestore import AsyncClient, AsyncDocumentReference, FieldFilter
from google.cloud.firestore_v1.base_document import DocumentSnapshot

from apx.admission.members import Member, MemberStore
from apx.admission.operators import Role, is_role
from apx.backends.gcp import names
from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.firestore import bounded, once

_Snapshot = DocumentSnapshot[AsyncDocumentReference]


class FirestoreMembers(MemberStore):
    """Each change is one write, under the condition that the document is as it was read."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._members = client.collection(names.MEMBERS)

    async def of_org(self, org: str) -> list[Member]:
        """Return an org's members, by name."""
        return sorted(await self._found("org", org), key=lambda one: one.who)

    async def roles_of(self, who: str) -> Mapping[str, Role]:
        """Return somebody's roles by org."""
        return {one.org: one.role for one in await self._found("who", who)}

    async def change(self, org: str, who: str, before: Role | None, after: Role | None) -> bool:
        """Let somebody have the role `after` in an org; False: it was not `before` any longer."""
        document = self._members.document(f"{org}:{who}")
        with unavailable("changing a member"):
            while True:
                found = await document.get(**bounded())
                stands = found.get("role") if found.exists else None
                if stands == after:
                    return True
                if stands != before:
                    return False
                try:
                    await self._write(found, {"org": org, "who": who, "role": after})
                except (Aborted, AlreadyExists, FailedPrecondition, NotFound):
                    await asyncio.sleep(0)  # somebody else was first: look again
                else:
                    return True

    async def _write(self, found: _Snapshot, fields: dict[str, str | None]) -> None:
        if not found.exists:
            await found.reference.create(fields, **once())
            return
        unchanged = self._client.write_option(last_update_time=found.update_time)
        if fields["role"] is None:
            await found.reference.delete(option=unchanged, **once())
        else:
            await found.reference.update(fields, option=unchanged, **once())

    async def _found(self, field: str, value: str) -> list[Member]:
        with unavailable("looking up members"):
            found = await self._members.where(filter=FieldFilter(field, "==", value)).get(**bounded())
        return [
            Member(org=one.get("org"), who=one.get("who"), role=role)
            for one in found
            if is_role(role := one.get("role"))
        ]
