"""The audit log over the control API: read, verify. Nothing writes to it here but what it records.

An org's members see what concerns the org, by whomever; whence a call came is shown to those of the platform alone.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from apx.admission.operators import Operator
from apx.audit.checkpoint import Seals
from apx.audit.entry import Entry
from apx.audit.select import Wanted, newest
from apx.audit.verify import verify_store
from apx.bootstrap import Backends
from services.control.access import Access

Text = Annotated[str, Query(max_length=100)]
MOST_LOOKED_AT = 5_000
"""Entries, for one page: a call that finds little does not read the whole log."""


def audit(backends: Backends, seals: Seals, access: Access) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["audit"])
    looking, viewer = access.looks(), Depends(access.needs("viewer"))

    @router.get("/audit")
    async def entries(
        *,
        since_ms: Annotated[int, Query(ge=0, le=2**53)] = 0,
        product: Text = "",
        org: Text = "",
        actor: Text = "",
        action: Text = "",
        before: Annotated[int, Query(ge=0, le=2**53, description="Only what stands in front of this number.")] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        request: Request,
        response: Response,
        caller: Operator = looking,
    ) -> list[dict[str, Any]]:
        """List who changed what, from where and why; newest first. `action` is a beginning: `key-`, `rollout-`.

        Where there may be more, the field `link` leads to the next page (RFC 8288). A page may hold fewer than `limit`.
        """
        asked = caller.asks(org or None)
        orgs = None if None in asked else frozenset(filter(None, asked))
        wanted = Wanted(since_ms=since_ms, product=product, orgs=orgs, actor=actor, action=action)
        page = await newest(backends.audit, wanted, limit, before=before, look_at=MOST_LOOKED_AT)
        if page.before:
            following = request.url.include_query_params(before=page.before)
            response.headers["link"] = f'<{following.path}?{following.query}>; rel="next"'
        return [_shown(entry, caller) for entry in page.entries]

    @router.get("/audit/verify", dependencies=[viewer])
    async def verified() -> dict[str, Any]:
        """Read the whole log, and say whether it is what was written."""
        report = await verify_store(backends.audit, seals)
        return {"sound": report.sound, **msgspec.to_builtins(report)}

    return router


def _shown(entry: Entry, caller: Operator) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(entry)
    if not caller.may("viewer"):
        shown.pop("source", None)
    return shown
