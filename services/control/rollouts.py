"""Rollouts over the control API: look, start, move, take back, follow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
import structlog
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from apx.audit.record import By
from apx.bootstrap import Backends
from apx.errors import NotFound, Unavailable
from apx.release.load import Loader
from apx.rollout.actions import Started, Wish, move, rollback, start
from apx.rollout.active import Active
from apx.rollout.assess import assess
from apx.rollout.budget import Budget
from apx.rollout.counts import PLAIN, Counts
from apx.rollout.model import Event
from apx.rollout.objectives import live_budgets
from services.control.access import Access
from services.control.events import Events

DIGEST = r"^sha256:[0-9a-f]{64}$"
Verb = Literal["promote", "pause", "resume", "abort"]
_log = structlog.get_logger(__name__)
_EVENTS: dict[Verb, Event] = {"promote": "promote", "pause": "pause", "resume": "resume", "abort": "abort"}
Product = Annotated[str, Field(max_length=63)]


class Wanted(BaseModel):
    """A release that shall take over."""

    digest: str = Field(pattern=DIGEST)
    commit: str = Field(default="", pattern="^([0-9a-f]{40,64})?$", description="The commit that it was built from.")


class Start(BaseModel):
    """Releases to roll out; those of one call are a wave."""

    releases: list[Wanted] = Field(min_length=1, max_length=1000)
    why: str = Field(default="", max_length=500)
    force: bool = Field(default=False, description="Also in a freeze window or after an abort; takes a `why`.")


class Why(BaseModel):
    """The reason; it goes into the history."""

    why: str = Field(default="", max_length=500)


class Back(Why):
    """Where to go back to."""

    to: str | None = Field(default=None, pattern=DIGEST, description="By default N-1, or what was stable before.")


def rollouts(backends: Backends, loader: Loader, access: Access) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["rollouts"])
    operator = Depends(access.who("operator"))
    events = Events(backends.rollouts)

    @router.get("/status")
    async def status() -> list[dict[str, Any]]:
        """Show every product: what is stable, and the rollout under way."""
        return [_status(active) for _, active in sorted((await backends.rollouts.read()).products.items())]

    @router.get("/rollouts")
    async def under_way() -> list[dict[str, Any]]:
        """List each product's rollout: the one under way, or the last."""
        found = sorted((await backends.rollouts.read()).products.items())
        return [{"product": name, **_shown(active)} for name, active in found if active.rollout is not None]

    @router.get("/rollout-events", response_class=StreamingResponse, responses=Events.DESCRIBED)
    async def follow(last_event_id: Annotated[str, Header(max_length=64)] = "") -> StreamingResponse:
        """Follow every change as server-sent events; `Last-Event-ID` resumes."""
        return events.stream(last_event_id)

    @router.get("/rollouts/{product}")
    async def one(product: Product) -> dict[str, Any]:
        """Show a product's rollout, both arms side by side, and what the judge says now."""
        active = await _active(backends, product)
        return {"product": product, **_shown(active), "assessment": await _assessment(backends, active)}

    @router.get("/rollouts/{product}/history")
    async def history(product: Product, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[dict[str, Any]]:
        """List what was done to a product, newest first, with the evidence."""
        entries = await backends.rollouts.history(product, limit)
        return [msgspec.to_builtins(entry) for entry in entries]

    @router.post("/rollouts")
    async def begin(wish: Start, by: By = operator) -> list[dict[str, Any]]:
        """Roll releases out. A refused one stands in the answer with its `reason`, what was not known in `note`."""
        started = await _begun(backends, loader, wish, by)
        return [msgspec.to_builtins(one) for one in started]

    @router.post("/rollouts/{product}/{verb}")
    async def change(product: Product, verb: Verb, reason: Why, by: By = operator) -> dict[str, Any]:
        """Promote, pause, resume or abort. Of two at once one wins, the other gets 409 with the reason."""
        why = reason.why or f"{verb} by {by.actor}"
        moved = await move(backends.rollouts, product, _EVENTS[verb], actor=by.actor, source=by.source, reason=why)
        return {"product": product, **_shown(moved)}

    @router.post("/products/{product}/rollback")
    async def back(product: Product, wish: Back, by: By = operator) -> dict[str, Any]:
        """Serve an earlier release at once; nothing is built."""
        changed = await rollback(
            backends.rollouts, loader, product, to=wish.to, actor=by.actor, source=by.source, why=wish.why
        )
        return {"product": product, **_shown(changed)}

    return router


async def _begun(backends: Backends, loader: Loader, wish: Start, by: By) -> list[Started]:
    wishes = [Wish(digest=one.digest, commit=one.commit) for one in wish.releases]
    budgets = {} if wish.force else await _budgets(backends, loader, wishes)
    return await start(
        backends.rollouts,
        loader,
        wishes,
        actor=by.actor,
        source=by.source,
        why=wish.why,
        force=wish.force,
        budgets=budgets,
    )


async def _budgets(backends: Backends, loader: Loader, wishes: Iterable[Wish]) -> dict[str, Budget]:
    """Return the error budgets of the products that these releases are of; what is in doubt is logged."""
    products = {(await loader.manifest(one.digest)).product for one in wishes}
    budgets = await live_budgets(backends.rollouts, backends.objectives, loader, products)
    for product, budget in budgets.items():
        if budget.doubt:
            _log.warning("budget.in-doubt", product=product, detail=budget.doubt)
    return budgets


async def _active(backends: Backends, product: str) -> Active:
    active = (await backends.rollouts.read()).products.get(product)
    if active is None:
        raise NotFound(f"there is no live product {product!r}")
    return active


async def _assessment(backends: Backends, active: Active) -> dict[str, Any]:
    """Return the verdict and the arms' sums; what cannot be read is said, and nobody passes on it."""
    if active.rollout is None or not active.rollout.under_way:
        return {"verdict": None, "reason": "no rollout is under way"}
    try:
        seen = await assess(backends.counts, active.product, active.rollout)
    except Unavailable as error:
        return {"verdict": None, "reason": f"the counts cannot be read: {error}"}
    return {
        "verdict": msgspec.to_builtins(seen.verdict),
        "stable": _sum(seen.stable.values()),
        "candidate": _sum(seen.candidate.values()),
    }


def _sum(seen: Iterable[Counts]) -> dict[str, Any]:
    total = Counts(latency={})
    for counts in seen:
        total.add(counts)
    return {name: getattr(total, name) for name in PLAIN}


def _status(active: Active) -> dict[str, Any]:
    rollout = active.rollout if active.candidate is not None else None
    return {
        "product": active.product,
        "stable": active.stable,
        "previous": active.previous,
        "candidate": active.candidate,
        "state": rollout.state if rollout else None,
        "weight_percent": rollout.weight_percent if rollout else 0.0,
        "reason": rollout.reason if rollout else "",
    }


def _shown(active: Active) -> dict[str, Any]:
    return {
        "stable": active.stable,
        "previous": active.previous,
        "revision": active.revision,
        "rollout": msgspec.to_builtins(active.rollout),
        "waiting": msgspec.to_builtins(active.waiting),
        "aborted": msgspec.to_builtins(active.aborted),
    }
