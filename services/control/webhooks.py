"""Webhooks over the control API: look, make, change, rotate, switch, delete, ping. A secret is in one answer, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from apx.admission.operators import Operator
from apx.audit.record import By, Recorder
from apx.audit.webhooks import replay_recorded
from apx.bootstrap import Backends
from apx.webhooks.manage import GRACE_S, MOST_GRACE_S, Change, Webhooks, Wish
from apx.webhooks.model import shown_webhook
from services.control.access import Access, OrgOf
from services.control.keys import Name

Id = Annotated[str, Field(max_length=80)]
WebhooksOf = Callable[[Backends], Webhooks]
"""Returns what changes webhooks, with what it changes recorded where the stores are."""
_NO_STORE = {"cache-control": "no-store"}


class WebhookWish(BaseModel, extra="forbid"):
    """A webhook: whose, where, and what it is told of."""

    org: Name
    url: str = Field(max_length=2048, description="https, public, no user, query or fragment.")
    events: list[str] = Field(default=[], max_length=50, description="Types; none: all of them.")
    products: list[Name] = Field(default=[], max_length=100, description="Products; none: all of them.")
    ordered: bool = Field(default=False, description="One at a time, in order; a failing one holds up the others.")


class WebhookChange(BaseModel, extra="forbid"):
    """What becomes another; what is left out, or null, stays."""

    url: str | None = Field(default=None, max_length=2048, description="As in a new one. What waits goes there too.")
    events: list[str] | None = Field(default=None, max_length=50, description="In place of those before; []: all.")
    products: list[Name] | None = Field(default=None, max_length=100, description="In place of those before; []: all.")


class SecretRotation(BaseModel, extra="forbid"):
    """How long the secret before signs too."""

    grace_s: float = Field(default=GRACE_S, ge=0, le=MOST_GRACE_S)


class Disabling(BaseModel, extra="forbid"):
    """Why; it goes into the audit log."""

    why: str = Field(min_length=1, max_length=500)


class Replaying(BaseModel, extra="forbid"):
    """How much of it."""

    since_ms: int = Field(default=0, ge=0, le=2**53, description="Only what was given up from then on.")


def webhooks(backends: Backends, webhooks_of: WebhooksOf, access: Access) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["webhooks"])
    looking, looker, of_webhook = webhooks_of(backends), access.looks(), _org_of(backends)
    viewer, admin = Depends(access.needs("viewer", of_webhook)), Depends(access.who("admin", of_webhook))
    maker = Depends(access.who("admin", _of_wish))

    def acting(by: By) -> Webhooks:
        return webhooks_of(backends.by(by))

    @router.get("/webhooks")
    async def every(org: str | None = None, caller: Operator = looker) -> list[dict[str, Any]]:
        """List webhooks, without their secrets."""
        return [shown_webhook(one) for wanted in caller.asks(org) for one in await looking.listed(wanted)]

    @router.post("/webhooks", status_code=201)
    async def create(wish: WebhookWish, response: Response, by: By = maker) -> dict[str, Any]:
        """Make a webhook; this answer alone shows its secret."""
        asked = Wish(
            org=wish.org,
            url=wish.url,
            events=tuple(wish.events),
            products=tuple(wish.products),
            ordered=wish.ordered,
        )
        made = await acting(by).create(asked, backends.orgs, backends.keys)
        response.headers.update({**_NO_STORE, "location": f"/api/v1/webhooks/{made.webhook.id}"})
        return made.shown()

    @router.get("/webhooks/{webhook_id}", dependencies=[viewer])
    async def one(webhook_id: Id) -> dict[str, Any]:
        """Show what is known of a webhook."""
        return shown_webhook(await looking.one(webhook_id))

    @router.patch("/webhooks/{webhook_id}")
    async def change(webhook_id: Id, wish: WebhookChange, by: By = admin) -> dict[str, Any]:
        """Change where it is, or what it is told of; its secret stays."""
        return shown_webhook(await acting(by).change(webhook_id, msgspec.convert(wish.model_dump(), Change)))

    @router.post("/webhooks/{webhook_id}/rotate")
    async def rotate(webhook_id: Id, rotation: SecretRotation, response: Response, by: By = admin) -> dict[str, Any]:
        """Make another secret, which this answer alone shows; the one before signs too for the grace."""
        made = await acting(by).rotate(webhook_id, grace_s=rotation.grace_s)
        response.headers.update(_NO_STORE)
        return made.shown()

    @router.delete("/webhooks/{webhook_id}", status_code=204)
    async def delete(webhook_id: Id, by: By = admin) -> Response:
        """Forget it, and what waits for it."""
        await acting(by).delete(webhook_id)
        return Response(status_code=204)

    _operate(router, backends, webhooks_of, access)
    return router


async def _of_wish(wish: WebhookWish) -> str:
    return wish.org


def _org_of(backends: Backends) -> OrgOf:
    async def of_webhook(webhook_id: Id) -> str | None:
        webhook = await backends.webhooks.find(webhook_id)
        return None if webhook is None else webhook.org

    return of_webhook


def _operate(router: APIRouter, backends: Backends, webhooks_of: WebhooksOf, access: Access) -> None:
    """Add what takes an operator: it changes nothing of what a webhook is."""
    operator = Depends(access.who("operator", _org_of(backends)))

    def acting(by: By) -> Webhooks:
        return webhooks_of(backends.by(by))

    @router.post("/webhooks/{webhook_id}/enable")
    async def enable(webhook_id: Id, by: By = operator) -> dict[str, Any]:
        """Tell it what happens from now on; `replay` sends what it missed too."""
        return shown_webhook(await acting(by).enable(webhook_id))

    @router.post("/webhooks/{webhook_id}/disable")
    async def disable(webhook_id: Id, disabling: Disabling, by: By = operator) -> dict[str, Any]:
        """Tell it nothing; what waits for it is put with the dead letters."""
        return shown_webhook(await acting(by).disable(webhook_id, disabling.why))

    @router.post("/webhooks/{webhook_id}/ping", status_code=202)
    async def ping(webhook_id: Id, by: By = operator) -> dict[str, str]:
        """Send it a `webhook.ping`."""
        return {"webhook_id": await acting(by).ping(webhook_id)}

    @router.post("/webhooks/{webhook_id}/replay", status_code=202)
    async def replay(webhook_id: Id, replaying: Replaying, by: By = operator) -> dict[str, int]:
        """Enable it if it is disabled, and send again what was given up, under the same `webhook-id`s."""
        recorder = Recorder(backends.audit, by)
        return {"queued": await replay_recorded(recorder, acting(by), webhook_id, since_ms=replaying.since_ms)}
