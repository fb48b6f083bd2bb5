"""Real processes that a test may kill."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(module: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of this folder's programs, and end it with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.e2e.worker.{module}", *words),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
