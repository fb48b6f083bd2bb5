"""A router over adapters in process, and a client that speaks ASGI to it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from apx.admission.admit import LiveProduct
from apx.admission.identity import Identity
from apx.admission.keys import KeyRecord, mint, sha256_of
from apx.admission.shedding import Shedder
from apx.admission.side_by_side import SideBySide
from apx.admission.standing import Standing
from apx.backends.files.blobs import FileBlobs
from apx.backends.memory.bus import MemoryBus
from apx.backends.memory.keys import MemoryKeys
from apx.backends.memory.limits import MemoryLimits
from apx.backends.memory.orgs import MemoryOrgs
from apx.backends.memory.results import MemoryResults
from apx.catalog.model import PlanSpec, Rate, Route
from apx.clock import ManualClock
from apx.errors import Unavailable
from apx.limits.leases import Limiter
from apx.limits.store import Grant, Want
from apx.policy.decision import Decision
from apx.requests.model import Envelope, Progress, Result
from apx.requests.ports import ProductBounds, Published, Settlement
from apx.requests.receipt import Receipts
from apx.rollout.active import Active
from apx.rollout.arms import Arms
from apx.rollout.counts import Tally
from apx.rollout.testers import ArmTokens
from services.router.accept import Acceptor
from services.router.app import Router
from services.router.door import Door
from services.router.requests_api import RequestsApi
from tests.unit.release.examples import release, spec

Message = MutableMapping[str, Any]
JSON = "application/json"
ALLOW = Decision(allow=True, reason="ok")


class Says:
    """A policy that answers what it is told to."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.decision = ALLOW
        self.crash = False
        self.takes_s = 0.0
        self._clock = clock
        self.evaluated = 0
        self.shown: list[Any] = []

    def decide(self, input_json: bytes) -> Decision:
        if self.crash:
            raise RuntimeError("a bug with a SECRET in it")
        self.shown.append(json.loads(input_json))
        if self._clock is not None:
            self._clock.advance(self.takes_s)
        return self.decision

    def close(self) -> None:
        pass


class Bus(MemoryBus):
    """The fake, with a way to take it away and a record of what was published."""

    away = False

    def __init__(self, results: MemoryResults, clock: ManualClock) -> None:
        super().__init__(results, clock, idle_s=0.01)
        self.published: list[Envelope] = []

    async def publish(self, envelope: Envelope) -> Published:
        if self.away:
            raise Unavailable("the bus at redis://secret is away")
        self.published.append(envelope)
        return await super().publish(envelope)


class Results(MemoryResults):
    """The fake, with a way to take it away."""

    away = False

    async def get(self, request_id: str) -> Result | Progress | None:
        if self.away:
            raise Unavailable("away")
        return await super().get(request_id)

    async def wait(self, request_id: str, timeout_s: float) -> Result | Progress | None:
        if self.away:
            raise Unavailable("away")
        return await super().wait(request_id, timeout_s)


class Limits(MemoryLimits):
    """The fake, with a way to take it away."""

    away = False

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        if self.away:
            raise Unavailable("away")
        return await super().exchange(holder, wants, ttl_s)


class Keys(MemoryKeys):
    """The fake, with a way to take it away."""

    away = False

    async def find(self, sha256: str) -> KeyRecord | None:
        if self.away:
            raise Unavailable("away")
        return await super().find(sha256)


class Answer(msgspec.Struct):
    """What the client got."""

    status: int = 0
    headers: dict[str, str] = {}
    body: bytes = b""
    complete: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.json["code"])


async def ask(
    app: Callable[..., Any],
    method: str,
    path: str,
    *,
    headers: dict[str, str] | list[tuple[bytes, bytes]] | None = None,
    body: bytes | list[bytes] = b"",
    query: str = "",
    receive: Callable[[], Any] | None = None,
    on_piece: Callable[[bytes], None] | None = None,
) -> Answer:
    """Send one request; return the whole answer."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    answer, done = Answer(headers={}), asyncio.Event()

    async def receive_pieces() -> Message:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert not answer.status, "an answer begins once"
            answer.status = message["status"]
            for name, value in message["headers"]:
                assert name == name.lower()
                assert name.decode() not in answer.headers, f"{name!r} is sent twice"
                answer.headers[name.decode()] = value.decode("latin-1")
        else:
            assert answer.status, "the status comes first"
            assert not answer.complete, "an answer ends once"
            answer.body += message.get("body", b"")
            answer.complete = not message.get("more_body", False)
            if on_piece:
                on_piece(message.get("body", b""))

    given = headers or {}
    pairs = [(n.encode(), v.encode("latin-1")) for n, v in given.items()] if isinstance(given, dict) else given
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(b"x-request-id", b"the-request-id"), *pairs],
    }
    try:
        await app(scope, receive or receive_pieces, send)
    finally:
        done.set()
    return answer


def alone(live: LiveProduct) -> Arms[LiveProduct]:
    """Return a release that serves every org."""
    return Arms(active=Active(product=live.name, stable=live.digest), stable=live, stable_digest=live.digest)


class Desk:
    """The router, and everything around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.keys = Keys()
        self.results = Results(self.clock)
        self.bus = Bus(self.results, self.clock)
        self.blobs = FileBlobs(folder / "blobs")
        self.receipts = Receipts([b"r" * 32], "eu")
        self.identity = Identity(self.keys, self.clock)
        self.limits = Limits(self.clock)
        self.limiter = Limiter(self.limits, self.clock)
        self.orgs = MemoryOrgs()
        self.standing = Standing(self.orgs)
        self.policy = Says()
        self.products: dict[str, LiveProduct] = {}
        self.is_ready = True
        self.tally, self.chance, self.arm_tokens = Tally(), 0.0, ArmTokens(b"a" * 32)
        self.shedder = Shedder(self.clock, least=2, most=100, late_s=0.005, chance=lambda: self.chance)
        self.door = Door(self.shedder, self.clock)
        self.router = Router(
            door=self.door,
            identity=self.identity,
            limits=self.limiter,
            standing=self.standing,
            side_by_side=SideBySide(self.tally, clock=self.clock, chance=lambda: self.chance),
            arm_tokens=self.arm_tokens,
            acceptor=Acceptor(self.bus, self.receipts, self.clock),
            requests=RequestsApi(
                results=self.results,
                blobs=self.blobs,
                receipts=self.receipts,
                identity=self.identity,
                standing=self.standing,
                clock=self.clock,
                longest_wait_s=60,
            ),
            ready=lambda: self.is_ready,
            clock=self.clock,
            longest_wait_s=60,
            log_requests=True,
        )
        self.key = ""
        self.headers: dict[str, str] = {}

    async def open(self) -> None:
        """Serve the two usual products, and give acme a key."""
        await self.standing.look()
        self.serve()
        self.key = await self.give("acme")
        self.headers = {"x-api-key": self.key}

    def serve(self, *, plan: PlanSpec | None = None, **changes: Any) -> None:
        plans = {"free": plan or PlanSpec(title="Free", rate=Rate(per_second=100, burst=1000))}
        routes = (
            Route(path="/", methods=("POST", "GET", "HEAD"), max_body_bytes=1000),
            Route(path="/{id}", methods=("GET",)),
        )
        orders = spec(**{"routes": routes, **changes})
        files = spec(title="Files", base_path="/files", mode="sync", routes=(Route(path="/{name}"),))
        self.products = {
            "orders": LiveProduct(release("orders", orders, plans), self.policy),
            "files": LiveProduct(release("files", files, plans), self.policy),
        }
        self.serve_products()

    def serve_products(self) -> None:
        """Serve what stands in `products`, without a rollout."""
        self.router.serve({name: alone(live) for name, live in self.products.items()})

    async def give(self, org: str, **changes: Any) -> str:
        """Give an org a key."""
        key = mint("test", secrets.token_bytes)
        fields: dict[str, Any] = {
            "id": f"key_{secrets.token_hex(4)}",
            "sha256": sha256_of(key),
            "org": org,
            "region": "eu",
            "plans": {"orders": "free", "files": "free"},
            "created_ms": 0,
        }
        await self.keys.put(KeyRecord(**{**fields, **changes}))
        return key

    async def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        """Ask as acme, unless the headers say otherwise."""
        return await ask(self.router, method, path, headers=self.headers if headers is None else headers, **more)

    async def post(self, body: bytes = b"{}", **headers: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", "/orders", {**self.headers, **fields}, body=body)

    async def accepted(self, body: bytes = b"{}") -> str:
        """Have a request accepted; return its id."""
        answer = await self.post(body)
        assert answer.status == 202
        return str(answer.json["id"])

    async def finish(self, **changes: Any) -> str:
        """Have the next request of a lane worked off; return its id."""
        (delivery,) = await self.bus.receive("w", [ProductBounds("orders", 10, 10)], 1)
        envelope = delivery.envelope
        fields: dict[str, Any] = {
            "id": envelope.id,
            "org": envelope.org,
            "product": envelope.product,
            "release": envelope.release,
            "state": "succeeded",
            "accepted_ms": envelope.accepted_ms,
            "finished_ms": int(self.clock.time() * 1000),
            "attempts": 1,
            "status": 200,
            "headers": (("content-type", "text/plain"),),
            "body": b"the answer",
            "body_bytes": 10,
        }
        result = Result(**{**fields, **changes})
        await self.bus.settle([Settlement(delivery=delivery, result=result)])
        return envelope.id

    async def start(self) -> str:
        """Have the next request begin; return its id."""
        (delivery,) = await self.bus.receive("w", [ProductBounds("orders", 10, 10)], 1)
        return delivery.envelope.id

    @asynccontextmanager
    async def asking(self, *request: Any, **more: Any) -> AsyncIterator[asyncio.Task[Answer]]:
        """Ask beside the test."""
        task = asyncio.ensure_future(self.ask(*request, **more))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
