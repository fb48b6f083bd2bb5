"""Members of an org over the control API: look, add, remove."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from apx.admission.members import Members, shown_member
from apx.admission.operators import Role
from apx.audit.record import By
from apx.bootstrap import Backends
from services.control.access import Access
from services.control.orgs import Org, of_path

Who = Annotated[str, Field(max_length=80, description="An e-mail address, or the name in a token.")]


class Membership(BaseModel, extra="forbid"):
    """What somebody may do in an org."""

    role: Role


def members(backends: Backends, access: Access) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["orgs"])
    viewer, admin = Depends(access.needs("viewer", of_path)), Depends(access.who("admin", of_path))

    def acting(by: By) -> Members:
        stores = backends.by(by)
        return Members(stores.members, stores.orgs, stores.keys)

    @router.get("/orgs/{org}/members", dependencies=[viewer])
    async def listed(org: Org) -> list[dict[str, Any]]:
        """List who may see and do what concerns an org, besides those who operate the platform."""
        found = await Members(backends.members, backends.orgs, backends.keys).listed(org)
        return list(map(shown_member, found))

    @router.put("/orgs/{org}/members/{who}")
    async def add(org: Org, who: Who, membership: Membership, by: By = admin) -> dict[str, Any]:
        """Let somebody have a role in an org, also in place of another one."""
        member, changed = await acting(by).add(org, who, membership.role)
        return {**shown_member(member), "changed": changed}

    @router.delete("/orgs/{org}/members/{who}", status_code=204)
    async def remove(org: Org, who: Who, by: By = admin) -> Response:
        """Let somebody have no role in an org any longer."""
        await acting(by).remove(org, who)
        return Response(status_code=204)

    return router
