"""The audit log over the control API: read, verify. Nothing writes to it here but what it records."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from apx.audit.checkpoint import Seals
from apx.audit.select import Wanted, newest
from apx.audit.verify import verify_store
from apx.bootstrap import Backends

Text = Annotated[str, Query(max_length=100)]


def audit(backends: Backends, seals: Seals) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["audit"])

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
    ) -> list[dict[str, Any]]:
        """List who changed what, from where and why; newest first. `action` is a beginning: `key-`, `rollout-`."""
        wanted = Wanted(since_ms=since_ms, product=product, org=org, actor=actor, action=action)
        return [msgspec.to_builtins(one) for one in await newest(backends.audit, wanted, limit, before=before)]

    @router.get("/audit/verify")
    async def verified() -> dict[str, Any]:
        """Read the whole log, and say whether it is what was written."""
        report = await verify_store(backends.audit, seals)
        return {"sound": report.sound, **msgspec.to_builtins(report)}

    return router
