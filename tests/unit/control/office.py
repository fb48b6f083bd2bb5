"""The control API over adapters in process, and who asks it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from apx.admission.operators import Operators, Role
from apx.audit.checkpoint import Seals
from apx.backends.files.blobs import FileBlobs
from apx.backends.files.releases import FileReleaseStore
from apx.backends.files.usage import UsageFiles
from apx.backends.memory.audit import MemoryAudit
from apx.backends.memory.bus import MemoryBus
from apx.backends.memory.counts import MemoryCounts
from apx.backends.memory.keys import MemoryKeys
from apx.backends.memory.leases import MemoryLeases
from apx.backends.memory.limits import MemoryLimits
from apx.backends.memory.members import MemoryMembers
from apx.backends.memory.orgs import MemoryOrgs
from apx.backends.memory.results import MemoryResults
from apx.backends.memory.rollouts import MemoryRollouts
from apx.backends.memory.webhooks import MemoryWebhooks
from apx.bootstrap import Backends
from apx.catalog.model import Rate, Slo
from apx.clock import ManualClock
from apx.release.load import Loader
from apx.requests.model import Envelope, Problem, Result
from apx.requests.ports import ProductBounds, Settlement
from apx.requests.receipt import Receipts
from apx.rollout.active import Snapshot
from apx.rollout.budget import Budget
from apx.rollout.objectives import DayObjectives, Fallback, Objectives
from apx.telemetry.spans import SpanFile
from apx.usage.collect import Collecting, Collector
from apx.webhooks.manage import Webhooks
from apx.webhooks.signing import Vault
from services.control import app as control_app
from services.control.access import Access
from services.control.pace import Pace
from tests.unit.release.examples import TRUSTED, manifest, stored

TOKEN = "apxadm_canary"
SEALS = Seals(b"c" * 32)
UNKNOWN = "sha256:" + "0" * 64
UNHURRIED = Rate(per_second=1_000.0, burst=1_000_000)
"""Its clock stands still, and some tests call often."""


class Rollouts(MemoryRollouts):
    """The fake, with ways to break it."""

    error: Exception | None = None

    async def read(self) -> Snapshot:
        if self.error:
            raise self.error
        return await super().read()


class Month(Objectives):
    """Has too little to tell, or does not answer."""

    error: Exception | None = None

    async def spent(self, product: str, slo: Slo) -> Budget | None:
        del product, slo
        if self.error:
            raise self.error
        return None


class Office:
    """The control API over adapters in process."""

    def __init__(self, folder: Path, callers: Rate = UNHURRIED, strangers: Rate = UNHURRIED) -> None:
        clock = ManualClock()
        self.folder, self.month = folder, Month()
        self.rollouts, self.keys, self.results = Rollouts(clock), MemoryKeys(), MemoryResults(clock)
        self.bus = MemoryBus(self.results, clock, idle_s=0.01)
        releases, counts = FileReleaseStore(folder / "releases"), MemoryCounts(clock)
        backends = Backends(
            keys=self.keys,
            rollouts=self.rollouts,
            bus=self.bus,
            results=self.results,
            blobs=FileBlobs(folder / "blobs"),
            releases=releases,
            counts=counts,
            objectives=Fallback(self.month, DayObjectives(counts, self.rollouts.now_ms), clock),
            leases=MemoryLeases(clock),
            limits=MemoryLimits(clock),
            audit=MemoryAudit(clock),
            orgs=MemoryOrgs(),
            members=MemoryMembers(),
            webhooks=MemoryWebhooks(),
            ended=self.bus.usage.reader("webhooks"),
        )
        self.backends, self.orgs, self.audit, self.limits = backends, backends.orgs, backends.audit, backends.limits
        spans = SpanFile(folder / "spans.jsonl")
        self.usage = Collecting(Collector(self.bus.usage, UsageFiles(folder / "usage")), UsageFiles(folder / "usage"))
        self.operators = Operators(b"o" * 32, clock)
        self.clock, self.counts = clock, backends.counts
        access = Access(self.operators, TOKEN, backends.members, Pace(clock, callers, strangers))
        self.webhooks = backends.webhooks
        self.loader, self.receipts = Loader(releases, TRUSTED), Receipts([b"r" * 32], "us")
        more = control_app.Office(
            receipts=self.receipts,
            clock=clock,
            seals=SEALS,
            usage=self.usage,
            webhooks=self.managing,
        )
        self.app: FastAPI = control_app.create_app(backends, self.loader, spans, access, more)

    def managing(self, stores: Backends) -> Webhooks:
        return Webhooks(stores.webhooks, Vault(b"v" * 32), self.bus, self.clock, os.urandom)

    def token(self, role: Role, subject: str = "somebody") -> str:
        return self.operators.mint(subject, role, hours=1, random=lambda size: b"x" * size)

    def client(self, role: Role | None = None) -> httpx.AsyncClient:
        """Return a client of ann's, in a role over the platform; of the admin's token without one."""
        token = TOKEN if role is None else self.token(role, "ann")
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=("192.0.2.7", 5000))
        headers = {"authorization": f"Bearer {token}"}
        return httpx.AsyncClient(transport=transport, base_url="http://control/api/v1", headers=headers)

    async def release(self, product: str = "orders") -> str:
        return await stored(self.folder / "releases", manifest(product))

    async def dead_letter(self) -> None:
        envelope = Envelope(
            id="req_1",
            org="acme",
            key_id="key_1",
            product="orders",
            release=UNKNOWN,
            lane="org",
            method="POST",
            path="/",
            query="",
            headers=(("x-secret", "CANARY"),),
            body=b"CANARY",
            accepted_ms=0,
            deadline_ms=2**50,
            timeout_s=1.0,
        )
        await self.bus.publish(envelope)
        (delivery,) = await self.bus.receive("w", [ProductBounds("orders", 1, 1)], 1)
        why = Problem(code="backend-failed", detail="It answered 500.")
        result = Result(
            id="req_1",
            org="acme",
            product="orders",
            release=UNKNOWN,
            state="failed",
            accepted_ms=0,
            finished_ms=1,
            error=why,
            headers=(("x-secret", "CANARY"),),
            body=b"CANARY",
        )
        await self.bus.settle([Settlement(delivery=delivery, result=result, dead_letter=why)])


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.json()["status"] == answer.status_code
    return answer.status_code, answer.json()["code"]


def guarded() -> list[tuple[str, str]]:
    """Every method and path under `/api/v1`, as the application itself lists them."""
    app = Office(Path("unused")).app
    routes = [route for route in routes_of(app.routes) if route.path.startswith("/api/v1")]
    return [(method, re.sub(r"{\w+}", "x", route.path)) for route in routes for method in sorted(route.methods or ())]


def routes_of(found: list[Any]) -> list[APIRoute]:
    """Routes, also where a version of FastAPI keeps included routers whole."""
    routes: list[APIRoute] = []
    for route in found:
        if isinstance(route, APIRoute):
            routes.append(route)
        elif hasattr(route, "effective_route_contexts"):
            routes += route.effective_route_contexts()
    return routes
