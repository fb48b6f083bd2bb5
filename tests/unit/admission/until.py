"""Wait for a condition, up to a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 -- what is waited for knows of no event
            await asyncio.sleep(0.002)


async def turns(count: int = 10) -> None:
    """Let whatever is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)
