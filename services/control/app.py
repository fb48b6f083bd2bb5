"""The control API: what operators and the portal ask, in FastAPI. The data path does not need it to be up."""

from __future__ import annotations

import os
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from apx.admission.operators import Operator
from apx.audit.checkpoint import Seals
from apx.audit.record import By, Recorder
from apx.bootstrap import Backends
from apx.clock import Clock
from apx.errors import NotFound
from apx.release.load import Loader
from apx.requests import shown
from apx.requests.receipt import Receipts
from apx.requests.replay import MOST_LOOKED_AT, replay_letters
from apx.rollout.activate import activate
from apx.telemetry import metrics
from apx.telemetry.spans import MAX_BODY_BYTES, SpanFile, SpansRefused
from apx.usage.questions import UsageTotals
from services.control.access import Access
from services.control.audit import audit
from services.control.keys import keys
from services.control.members import members
from services.control.orgs import orgs
from services.control.problems import ANSWERS, answer_with_problems
from services.control.rollouts import rollouts
from services.control.usage import usage
from services.control.webhooks import WebhooksOf, webhooks


class Office(msgspec.Struct, frozen=True, kw_only=True):
    """What the control API needs besides the stores."""

    receipts: Receipts
    clock: Clock
    seals: Seals
    usage: UsageTotals
    webhooks: WebhooksOf


class Activation(BaseModel):
    """Which release shall serve, and why."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    why: str = Field(default="", max_length=500)


def create_app(backends: Backends, loader: Loader, spans: SpanFile, access: Access, office: Office) -> FastAPI:
    """Return the application; everything under `/api/v1` asks `access` who calls.

    What concerns orgs says at each endpoint what it takes: a role in the org, or over the platform.
    """
    app = FastAPI(
        title="APX control API",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url="/api/docs",
        redoc_url=None,
    )
    answer_with_problems(app)
    app.include_router(_health(backends))
    app.include_router(_spans(spans))
    of_platform, of_orgs = access.needs("viewer"), access.caller
    for guard, router in (
        (of_platform, _releases(backends, loader, access, office.clock)),
        (of_platform, rollouts(backends, loader, access)),
        (of_platform, _traces(spans)),
        (of_orgs, keys(backends, loader, access, office.clock)),
        (of_orgs, orgs(backends, access, office.clock)),
        (of_orgs, members(backends, access)),
        (of_orgs, audit(backends, office.seals, access)),
        (of_orgs, _requests(backends, access, office)),
        (of_orgs, usage(office.usage, office.clock, access)),
        (of_orgs, webhooks(backends, office.webhooks, access)),
    ):
        app.include_router(router, prefix="/api/v1", dependencies=[Depends(guard)], responses=ANSWERS)
    return app


def _health(backends: Backends) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/metrics")
    def exposition() -> Response:
        return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @router.get("/readyz")
    async def readyz() -> dict[str, str]:
        await backends.rollouts.read()
        return {"status": "ok"}

    return router


def _releases(backends: Backends, loader: Loader, access: Access, clock: Clock) -> APIRouter:
    router = APIRouter(tags=["releases"])
    operator = Depends(access.who("operator"))

    @router.get("/products")
    async def products() -> list[dict[str, Any]]:
        """List what serves: product, release, revision."""
        snapshot = await backends.rollouts.read()
        return [
            {"product": name, "release": active.stable, "previous": active.previous, "revision": active.revision}
            for name, active in sorted(snapshot.products.items())
        ]

    @router.get("/products/{product}/history")
    async def history(product: str, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[dict[str, Any]]:
        """List what was changed, newest first."""
        entries = await backends.rollouts.history(product, limit)
        return [{field: getattr(entry, field) for field in entry.__struct_fields__} for entry in entries]

    @router.get("/releases")
    async def releases(product: str | None = None) -> list[dict[str, Any]]:
        """List what is stored, newest first."""
        return [
            {"digest": one.digest, "product": one.product, "stored_at": one.stored_at, "annotations": one.annotations}
            async for one in backends.releases.list_releases()
            if product in (None, one.product)
        ]

    @router.post("/products/{product}/activate")
    async def activate_release(product: str, wish: Activation, by: By = operator) -> dict[str, Any]:
        """Serve a release from now on, when it is whole, signed, and of this product."""
        await loader.manifest(wish.digest, product)
        (activated,) = await activate(
            backends.rollouts, loader, [wish.digest], actor=by.actor, source=by.source, why=wish.why, clock=clock
        )
        return {"product": product, "release": wish.digest, "changed": activated.changed}

    return router


def _requests(backends: Backends, access: Access, office: Office) -> APIRouter:
    router = APIRouter(tags=["requests"])
    looking, known = access.looks(), Depends(access.caller)

    async def of_request(request_id: str, caller: Operator = known) -> str | None:
        receipt = office.receipts.verify(request_id)
        return next((org for org in caller.orgs if receipt and office.receipts.belongs_to(receipt, org)), None)

    async def of_letter(letter_id: str, caller: Operator = known) -> str | None:
        for org in caller.orgs:
            letters = await backends.bus.dead_letters(None, MOST_LOOKED_AT, org=org)
            if any(letter.id == letter_id for letter in letters):
                return org
        return None

    viewer, operator = Depends(access.needs("viewer", of_request)), Depends(access.who("operator", of_letter))
    found_in = Depends(of_letter)

    @router.get("/requests/{request_id}", dependencies=[viewer])
    async def request(request_id: str) -> dict[str, Any]:
        """Show what is known of a request, without its body."""
        found = await backends.results.get(request_id)
        if found is None:
            raise NotFound(f"nothing is stored of {request_id!r}: it waits, or its time is over")
        return shown.request(found)

    @router.get("/lanes")
    async def lanes(caller: Operator = looking) -> list[dict[str, Any]]:
        """Count what waits or runs, by product and org."""
        return [lane for lane in shown.lanes(await backends.bus.depth()) if caller.sees(lane["org"])]

    @router.get("/dead-letters")
    async def dead_letters(
        product: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        caller: Operator = looking,
    ) -> list[dict[str, Any]]:
        """List the newest dead letters with their reasons."""
        asked = [await backends.bus.dead_letters(product, limit, org=org) for org in caller.asks(None)]
        newest = sorted((letter for letters in asked for letter in letters), key=lambda one: one.at_ms, reverse=True)
        return [shown.dead_letter(letter) for letter in newest[:limit]]

    @router.post("/dead-letters/{letter_id}/replay")
    async def replay(letter_id: str, by: By = operator, org: str | None = found_in) -> dict[str, str]:
        """Queue a dead letter again, under a new id."""
        recorded = Recorder(backends.audit, by).replay
        ((old, new),) = await replay_letters(
            backends.bus, [letter_id], office.receipts, office.clock, os.urandom, org=org, recorded=recorded
        )
        return {"request": old, "replayed_as": new}

    return router


def _traces(spans: SpanFile) -> APIRouter:
    router = APIRouter(tags=["traces"])

    @router.get("/traces/{trace_id}")
    def trace(trace_id: str) -> list[dict[str, Any]]:
        """Return the spans of a trace, of every process."""
        return [{name: getattr(span, name) for name in span.__struct_fields__} for span in spans.read(trace_id)]

    return router


def _spans(spans: SpanFile) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.post("/otlp/v1/traces")
    async def receive(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise SpansRefused(f"An export is over {MAX_BODY_BYTES} bytes.", 413)
        spans.accept(request.headers.get("content-type", ""), bytes(body))
        return Response(content=b"", media_type="application/x-protobuf")

    return router
