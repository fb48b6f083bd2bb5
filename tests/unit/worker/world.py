"""What the worker's tests need around it: products, envelopes, blobs, a running worker and demo backend."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from apx.backends.http.client import HttpBackendClient
from apx.backends.memory.limits import MemoryLimits
from apx.catalog.model import Backend, PolicyRef, ProductSpec, Retry, Route
from apx.clock import Clock, SystemClock
from apx.errors import NotFound, Unsupported
from apx.requests.execution_call import BackendClient
from apx.requests.model import Delivery, Envelope, Result
from apx.requests.ports import ProductBounds
from apx.requests.specs import Terms
from apx.rollout.counts import Tally
from examples.demo_backend.record import Entry, Record
from examples.demo_backend.server import serving
from services.worker.app import Worker
from services.worker.settings import WorkerSettings
from tests.unit.worker.lanes import Lanes

QUICK = Retry(attempts=3, initial_backoff_s=0.01, max_backoff_s=0.05)
_numbers = itertools.count(1)


def spec_for(url: str, *, retry: Retry = QUICK, **backend: Any) -> ProductSpec:
    return ProductSpec(
        title="Orders",
        owner="team",
        base_path="/orders",
        backend=Backend(url=url, allow_private=True, retry=retry, **backend),
        routes=(Route(path="/"),),
        policy=PolicyRef(package="orders"),
        plans=("basic",),
    )


def envelope_for(path: str = "/null", **fields: Any) -> Envelope:
    now_ms = int(time.time() * 1000)
    values: dict[str, Any] = {
        "id": f"req-{next(_numbers):06d}",
        "org": "acme",
        "key_id": "k1",
        "product": "orders",
        "release": "sha256:00",
        "lane": "",
        "method": "POST",
        "path": path,
        "query": "",
        "headers": (),
        "body": b"{}",
        "accepted_ms": now_ms,
        "deadline_ms": now_ms + 60_000,
        "timeout_s": 5.0,
    }
    return Envelope(**(values | fields))


def delivery_of(envelope: Envelope, attempt: int = 1, crashes: int = 0) -> Delivery:
    return Delivery(envelope=envelope, attempt=attempt, fence=1, crashes=crashes)


class MemoryBlobs:
    """`BlobStore` in a dictionary; notes the largest chunk and how many came."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.chunks = 0

    async def put(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        content = bytearray()
        async for chunk in chunks:
            self.chunks += 1
            content += chunk
            if len(content) > max_bytes:
                raise Unsupported("too large")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.stored[digest] = bytes(content)
        return digest, len(content)

    async def get(self, digest: str) -> AsyncIterator[bytes]:
        if digest not in self.stored:
            raise NotFound(digest)
        yield self.stored[digest]

    async def expire(self, *, older_than_s: float) -> int:
        del older_than_s
        return 0


class World:
    """One demo backend, one bus, and what a worker is made of (`services.worker.app.Parts`)."""

    def __init__(self, port: int, record: Record, client: BackendClient) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.record = record
        self.client = client
        self.lanes = Lanes()
        self.bus = self.lanes
        self.results = self.lanes
        self.blobs = MemoryBlobs()
        self.spec = spec_for(self.url)
        self.tally = Tally()
        self.limits = MemoryLimits(SystemClock())

    async def terms(self, envelope: Envelope) -> Terms:
        return Terms(spec=self.spec, envelope=envelope)

    def bounds(self) -> Sequence[ProductBounds]:
        return [ProductBounds("orders", 64, 64), ProductBounds("calm", 64, 64)]

    def received(self) -> list[Entry]:
        return msgspec.json.Decoder(Entry).decode_lines(self.record.page(0, 100_000))

    async def publish(self, path: str = "/null", **fields: Any) -> Envelope:
        envelope = envelope_for(path, **fields)
        await self.lanes.publish(envelope)
        return envelope

    async def result_of(self, envelope: Envelope, within_s: float = 10.0) -> Result:
        result = await self.lanes.wait(envelope.id, within_s)
        assert isinstance(result, Result), f"no result within {within_s} s"
        return result

    def worker(self, clock: Clock | None = None, **settings: Any) -> Worker:
        values = {"log_requests": False, "lease_s": 0.3, "drain_s": 5.0} | settings
        made = WorkerSettings(**values)
        return Worker(self, made, name="w1", clock=clock or SystemClock(), chance=lambda: 0.5)

    @asynccontextmanager
    async def working(self, **settings: Any) -> AsyncIterator[Worker]:
        worker = self.worker(**settings)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def new_world() -> AsyncIterator[World]:
    record = Record()
    async with serving(record=record) as port, HttpBackendClient() as client:
        yield World(port, record, client)


async def eventually(condition: Callable[[], object], within_s: float = 5.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        await asyncio.sleep(0.005)
