"""A worker process without a store: one request that calls the URL in `argv[1]`, drained for `argv[2]` seconds."""

from __future__ import annotations

import asyncio
import sys

import msgspec

from apx.backends.http.client import HttpBackendClient
from apx.clock import SystemClock
from apx.telemetry import logs
from examples.demo_backend.record import Record
from services.worker.process import run
from services.worker.settings import WorkerSettings
from tests.unit.worker.world import World


async def main(port: int, drain_s: float) -> None:
    async with HttpBackendClient() as client:
        world = World(port, Record(), client)
        envelope = await world.publish("/exports", query="seconds=30", timeout_s=60.0)
        await run(world, WorkerSettings(worker_port=0, drain_s=drain_s), SystemClock())
        left = {"released": world.lanes.released == [envelope.id], "results": list(world.lanes.results)}
        sys.stderr.write(msgspec.json.encode(left).decode())


if __name__ == "__main__":
    logs.configure("worker", "info")
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
    logs.flush()
