"""A worker process on a real store: `argv` is the store's URL and the demo backend's port. Leases are short.

A third word is the URL of the store that budgets are in; then an answer's `/received/tokens` say what a request costs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from apx.backends.http.client import HttpBackendClient
from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.connection import connect
from apx.backends.valkey.limits import ValkeyLimits
from apx.backends.valkey.results import ValkeyResults
from apx.catalog.model import Cost, CostFrom
from apx.clock import SystemClock
from apx.limits.store import LimitStore
from examples.demo_backend.record import Record
from services.worker.process import run
from services.worker.settings import WorkerSettings
from tests.unit.worker.world import World

LEASE_S = 0.6
COST = Cost(from_=CostFrom(json="/received/tokens", usd_per_unit=0.001))


class OnStore(World):
    """The parts of a worker, with lanes and results on the store."""

    def __init__(self, port: int, client: HttpBackendClient, bus: ValkeyBus, results: ValkeyResults) -> None:
        super().__init__(port, Record(), client)
        self.bus = bus  # type: ignore[assignment]  # the real one in place of the fake
        self.results = results  # type: ignore[assignment]  # the real one in place of the fake

    def charging(self, limits: LimitStore) -> OnStore:
        """Have answers say what requests cost."""
        self.limits = limits  # type: ignore[assignment]  # the real one in place of the fake
        self.spec = msgspec.structs.replace(self.spec, cost=COST)
        return self


@asynccontextmanager
async def budgets(url: str) -> AsyncIterator[LimitStore]:
    store = connect(url)
    limits = ValkeyLimits(store)
    yield limits
    await limits.aclose()
    await store.aclose()


async def main(url: str, port: int, *limits_url: str) -> None:
    store = connect(url)
    bus, results = ValkeyBus(store, lease_s=LEASE_S), ValkeyResults(store)
    async with HttpBackendClient() as client, AsyncExitStack() as opened:
        settings = WorkerSettings(worker_port=0, drain_s=5, lease_s=LEASE_S, concurrency=16)
        parts = OnStore(port, client, bus, results)
        for one in limits_url:
            parts.charging(await opened.enter_async_context(budgets(one)))
        await run(parts, settings, SystemClock())
    await bus.aclose()
    await results.aclose()
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
