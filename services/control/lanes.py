"""How much waits, as a metric: read from the store every few seconds, by one process for all."""

from __future__ import annotations

import asyncio
from collections import Counter

from apx.errors import Unavailable
from apx.requests.ports import Bus
from apx.telemetry import metrics

_EVERY_S = 5.0


async def watch_lanes(bus: Bus) -> None:
    """Keep `apx_lanes_waiting_requests` current, until cancelled."""
    while True:
        try:
            depth = await bus.depth()
        except Unavailable:
            metrics.LANES_WAITING.clear()  # an old number would look like a calm queue
        else:
            waiting: Counter[str] = Counter()
            for (product, _), requests in depth.items():
                waiting[product] += requests
            metrics.LANES_WAITING.clear()
            for product, requests in waiting.items():
                metrics.LANES_WAITING.set(requests, product)
        await asyncio.sleep(_EVERY_S)
