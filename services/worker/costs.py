"""Costs that were known only afterwards, on their way to the budgets: those of one moment go together.

While the store is away, what is to be charged is sent again until it is taken, perhaps twice; what is to be given back
is sent once. So a budget that is not told exactly has rather less left than more. A worker that is killed leaves what
was reserved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from apx.errors import Misconfigured, Unavailable
from apx.limits.store import LimitStore, Settle

_AGAIN_S = 1.0
MOST_WAITING = 100_000
"""Beyond it they are dropped, with a warning."""
_MOST_AT_ONCE = 500
_log = structlog.get_logger(__name__)


class Costs:
    """Sends what finished since the last time in one call."""

    def __init__(self, limits: LimitStore, *, again_s: float = _AGAIN_S) -> None:
        self._limits = limits
        self._again_s = again_s
        self._waiting: list[Settle] = []
        self._sender: asyncio.Task[None] | None = None

    def settle(self, costs: Sequence[Settle]) -> None:
        """Have budgets told; at once, and never raises."""
        if len(self._waiting) + len(costs) > MOST_WAITING:
            _log.warning("costs.dropped", costs=len(costs))
            return
        self._waiting += costs
        if self._waiting and self._sender is None:
            self._sender = asyncio.create_task(self._send_all())

    async def aclose(self, within_s: float) -> None:
        """Send what waits, as far as the store answers."""
        if self._sender is not None:
            _, left = await asyncio.wait([self._sender], timeout=within_s)
            for task in left:
                task.cancel()

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
                try:
                    await self._limits.settle(batch)
                except (Unavailable, Misconfigured) as error:  # the second until an operator mends the store's settings
                    _log.warning("costs.not-settled", costs=len(batch), detail=str(error))
                    self._waiting = [cost for cost in batch if cost.tokens > 0] + self._waiting
                    await asyncio.sleep(self._again_s)
        finally:
            self._sender = None
