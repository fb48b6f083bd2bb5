from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from tests.unit.worker.world import World, eventually


@asynccontextmanager
async def idle_worker(world: World, drain_s: float) -> AsyncIterator[asyncio.subprocess.Process]:
    port = world.url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.unit.worker.idle_worker", port, str(drain_s)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await eventually(lambda: world.received() or process.returncode is not None, within_s=20)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigterm_drains_hands_back_and_exits_with_0(world: World) -> None:
    async with idle_worker(world, drain_s=0.3) as process:
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0, err
    assert msgspec.json.decode(err) == {"released": True, "results": []}
    events = [msgspec.json.decode(line)["event"] for line in out.splitlines()]
    assert events == ["worker-started", "drain-started", "delivery-let-go", "drain-ended", "worker-stopped"]


async def test_a_second_sigterm_ends_the_process_at_once(world: World) -> None:
    async with idle_worker(world, drain_s=60) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        async for line in process.stdout:
            if b"drain-started" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 128 + signal.SIGTERM
