"""Orgs over the control API: look, suspend, resume; give them the terms of a tree."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from apx.admission.operators import Operator
from apx.admission.orgs import (
    NO_TERMS,
    OrgTerms,
    apply_terms,
    budgets_of,
    known_org,
    known_orgs,
    resume,
    shown_applied,
    shown_org,
    suspend,
)
from apx.admission.terms import checked_networks
from apx.audit.record import By
from apx.bootstrap import Backends
from apx.catalog.limit_checks import is_timezone
from apx.clock import Clock
from apx.errors import Unsupported
from apx.limits.budgets import shown_budget
from services.control.access import Access

Org = Annotated[str, Field(max_length=63)]


async def of_path(org: Org) -> str:
    """Return the org that a path names."""
    return org


class Wish(BaseModel, extra="forbid"):
    """Terms of orgs, as `apx org apply` reads them from a tree that was validated."""

    terms: dict[Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=63)], dict[str, Any]]


class Reason(BaseModel):
    """Why; it goes into the audit log, and the operators of the other shift read it."""

    why: str = Field(min_length=1, max_length=500)


def orgs(backends: Backends, access: Access, clock: Clock) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["orgs"])
    admin, operator = Depends(access.who("admin")), Depends(access.who("operator"))
    viewer, looking = Depends(access.needs("viewer", of_path)), access.looks()

    @router.get("/orgs")
    async def listed(caller: Operator = looking) -> list[dict[str, Any]]:
        """List the orgs that have a key or were suspended once, with their states."""
        return [shown_org(one) for one in await known_orgs(backends.orgs, backends.keys) if caller.sees(one.state.org)]

    @router.get("/orgs/{org}", dependencies=[viewer])
    async def one(org: Org) -> dict[str, Any]:
        """Show an org's state."""
        return shown_org(await known_org(backends.orgs, backends.keys, org))

    @router.get("/orgs/{org}/budgets", dependencies=[viewer])
    async def budgets(org: Org) -> list[dict[str, Any]]:
        """Show how an org's budgets stand: spent, limit, left, when they are whole again, marks."""
        terms = (await known_org(backends.orgs, backends.keys, org)).state.terms or NO_TERMS
        return list(map(shown_budget, await budgets_of(backends.limits, org, terms, clock)))

    @router.post("/orgs/{org}/suspend")
    async def suspended(org: Org, reason: Reason, by: By = admin) -> dict[str, Any]:
        """Refuse every request of an org within a second; what it had accepted before goes on."""
        states = backends.by(by).orgs
        return shown_org(await suspend(states, backends.keys, org, actor=by.actor, why=reason.why, clock=clock))

    @router.post("/orgs/{org}/resume")
    async def resumed(org: Org, reason: Reason, by: By = admin) -> dict[str, Any]:
        """Let an org in again."""
        states = backends.by(by).orgs
        return shown_org(await resume(states, backends.keys, org, actor=by.actor, why=reason.why, clock=clock))

    @router.put("/orgs")
    async def applied(wish: Wish, by: By = operator) -> list[dict[str, Any]]:
        """Let orgs have terms from now on; those that have them already are left alone."""
        wanted = [(org, _terms(org, terms)) for org, terms in wish.terms.items()]
        return list(map(shown_applied, await apply_terms(backends.by(by).orgs, wanted)))

    return router


def _terms(org: str, given: dict[str, Any]) -> OrgTerms:
    """Read an org's terms as the tree has them. Raises `Unsupported`."""
    try:
        terms = msgspec.convert(given, OrgTerms)
    except msgspec.ValidationError as error:
        raise Unsupported(f"terms of {org}: {error}") from None
    if not is_timezone(terms.timezone):
        raise Unsupported(f"terms of {org}: timezone: '{terms.timezone}' is no time zone")
    for field, named in (("quotas", terms.quotas), ("budgets", terms.budgets)):
        if len({one.name for one in named}) < len(named):  # they would share a bucket, and each take from it
            raise Unsupported(f"terms of {org}: {field}: a name stands twice")
    return msgspec.structs.replace(terms, allowlist=checked_networks(terms.allowlist))
