"""A worker process on a real store: `argv` is the store's URL and the demo backend's port. Leases are short."""

from __future__ import annotations

import asyncio
import sys

from apx.backends.http.client import HttpBackendClient
from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.connection import connect
from apx.backends.valkey.results import ValkeyResults
from apx.clock import SystemClock
from examples.demo_backend.record import Record
from services.worker.process import run
from services.worker.settings import WorkerSettings
from tests.unit.worker.world import World

LEASE_S = 0.6


class OnStore(World):
    """The parts of a worker, with lanes and results on the store."""

    def __init__(self, port: int, client: HttpBackendClient, bus: ValkeyBus, results: ValkeyResults) -> None:
        super().__init__(port, Record(), client)
        self.bus = bus  # type: ignore[assignment]  # the real one in place of the fake
        self.results = results  # type: ignore[assignment]  # the real one in place of the fake


async def main(url: str, port: int) -> None:
    store = connect(url)
    bus, results = ValkeyBus(store, lease_s=LEASE_S), ValkeyResults(store)
    async with HttpBackendClient() as client:
        settings = WorkerSettings(worker_port=0, drain_s=5, lease_s=LEASE_S, concurrency=16)
        await run(OnStore(port, client, bus, results), settings, SystemClock())
    await bus.aclose()
    await results.aclose()
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
