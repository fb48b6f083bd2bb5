"""Settlements on their way to the store: those of one moment go together, and none is dropped while it is away.

One that the store answers with an error of another kind fails alone: its lease ends, and the others go on.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Sequence

import structlog

from apx.errors import Misconfigured, Unavailable
from apx.requests.ports import Bus, Settled, Settlement
from apx.telemetry import metrics

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
MOST_AT_ONCE = 256

_log = structlog.get_logger(__name__)


class Settler:
    """Sends what finished since the last time in one call of the bus; one call is under way at a time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: list[tuple[Settlement, Future[Settled]]] = []
        self._sender: Task[None] | None = None

    def settle(self, settlement: Settlement) -> Future[Settled]:
        """Queue `settlement`; the future is done once the store has it, however long the store is away.

        It raises what the store said of a settlement that it will never take.
        """
        loop = asyncio.get_running_loop()
        done: Future[Settled] = loop.create_future()
        self._waiting.append((settlement, done))
        if self._sender is None:
            self._sender = loop.create_task(self._send_all())
        return done

    async def _send_all(self) -> None:
        # A task starts in the next turn of the event loop: by then all that finished in this one is waiting.
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            await self._send(batch)
        self._sender = None

    async def _send(self, batch: Sequence[tuple[Settlement, Future[Settled]]]) -> None:
        try:
            settled = await self._sent([settlement for settlement, _ in batch])
        except Exception as error:  # noqa: BLE001  # raised where the settlement came from
            metrics.SETTLE_FAILURES.inc()
            if len(batch) > 1:
                for one in batch:
                    await self._send([one])
            elif not batch[0][1].cancelled():
                batch[0][1].set_exception(error)
            return
        for (_, done), answer in zip(batch, settled, strict=True):
            if not done.cancelled():
                done.set_result(answer)

    async def _sent(self, settlements: list[Settlement]) -> list[Settled]:
        """Send until the store has it: settling is safe to repeat."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self._bus.settle(settlements)
            except (Unavailable, Misconfigured) as error:  # the second until an operator mends the store's settings
                metrics.SETTLE_FAILURES.inc()
                _log.warning("settle-failed", settlements=len(settlements), again_s=pause_s, error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
