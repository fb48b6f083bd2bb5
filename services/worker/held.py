"""The deliveries that this worker holds: their leases are renewed, and a lost one is let go."""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Iterator
from typing import Any, Literal

import structlog

from apx.clock import Clock
from apx.errors import Unavailable
from apx.requests.model import Delivery
from apx.requests.ports import Bus
from apx.telemetry import metrics

LONGEST_UNSEEN_S = 1.0
"""A request that was cancelled while it runs is noticed after so long at the latest, feed or not."""

LetGo = Literal["lost", "cancelled", "drained"]

_log = structlog.get_logger(__name__)


class Holding:
    """One delivery under way."""

    __slots__ = ("call", "delivery", "let_go", "since_s", "streams")

    def __init__(self, delivery: Delivery, since_s: float) -> None:
        self.delivery = delivery
        self.since_s = since_s
        self.call: Task[Any] | None = None
        """The task that carries it out; None before it began and once it only waits to be settled."""
        self.let_go: LetGo | None = None
        self.streams = False
        """Pieces of its answer may be out."""

    def drop(self, why: LetGo) -> None:
        """Stop carrying it out: what comes of it is not wanted any more."""
        if self.let_go is None:
            self.let_go = why
            if self.call is not None:
                self.call.cancel()


class Held:
    """Every delivery under way, by request id."""

    def __init__(self, bus: Bus, clock: Clock, lease_s: float) -> None:
        self._bus = bus
        self._clock = clock
        self._every_s = min(lease_s / 3, LONGEST_UNSEEN_S)
        self._holdings: dict[str, Holding] = {}

    def __len__(self) -> int:
        return len(self._holdings)

    def __iter__(self) -> Iterator[Holding]:
        return iter(tuple(self._holdings.values()))

    def take(self, delivery: Delivery) -> Holding:
        """Hold `delivery` from now on; an older lease of the same request, which must be over, is let go."""
        self.drop(delivery.envelope.id, "lost")
        holding = self._holdings[delivery.envelope.id] = Holding(delivery, self._clock.monotonic())
        metrics.IN_FLIGHT.inc(delivery.envelope.product)
        return holding

    def give(self, holding: Holding) -> None:
        """Hold it no longer."""
        metrics.IN_FLIGHT.dec(holding.delivery.envelope.product)
        if self._holdings.get(holding.delivery.envelope.id) is holding:
            del self._holdings[holding.delivery.envelope.id]

    def drop(self, request_id: str, why: LetGo) -> None:
        """Let one go, if it is held."""
        holding = self._holdings.get(request_id)
        if holding is not None:
            holding.drop(why)

    async def renew_for_ever(self) -> None:
        """Renew the leases of whatever has been held for a while, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            old = self._clock.monotonic() - self._every_s / 2
            due = [holding for holding in self if holding.since_s <= old]
            if due:
                await self._renew(due)

    async def _renew(self, due: list[Holding]) -> None:
        try:
            renewed = await self._bus.extend([holding.delivery for holding in due])
        except Exception as error:  # noqa: BLE001  # whatever it was, the next renewal may come in time
            trace = None if isinstance(error, Unavailable) else error
            _log.warning("lease-renewal-failed", deliveries=len(due), error=str(error), exc_info=trace)
            return
        for holding, kept in zip(due, renewed, strict=True):
            if not kept and self._holdings.get(holding.delivery.envelope.id) is holding:
                holding.drop("lost")
