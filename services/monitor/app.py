"""The monitor: looks at the rollouts again and again while it leads, and stands by while another does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

import structlog

from apx.errors import ApxError
from apx.rollout.active import Leases
from apx.telemetry import metrics

LEASE = "monitor"
_log = structlog.get_logger(__name__)


class Looks(Protocol):
    """What the monitor does each time."""

    async def look(self) -> None:
        """Look at every product once. Raises `Unavailable`."""
        ...


class Monitor:
    """One of those that may lead."""

    def __init__(self, controller: Looks, leases: Leases, *, name: str, every_s: float, lease_s: float) -> None:
        self._controller = controller
        self._leases = leases
        self._name = name
        self._every_s = every_s
        self._lease_s = lease_s
        self._stopping = asyncio.Event()
        self.leads = False
        self.ready = False
        """Whether the last look went well, or another one leads. For any thread."""

    def stop(self) -> None:
        """End after the look under way."""
        self._stopping.set()

    async def run(self) -> None:
        """Look until `stop`; then let another one lead at once."""
        try:
            while not self._stopping.is_set():
                await self._once()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._every_s)
        finally:
            self._lead(leads=False)
            with suppress(ApxError):
                await self._leases.release(LEASE, self._name)

    async def _once(self) -> None:
        try:
            self._lead(leads=await self._leases.hold(LEASE, self._name, self._lease_s))
            if self.leads:
                await self._controller.look()
            self.ready = True
        except Exception as error:  # noqa: BLE001 -- the next look may go well, and nobody else looks
            self.ready = False
            metrics.MONITOR_FAILURES.inc()
            trace = None if isinstance(error, ApxError) else error
            _log.warning("look-failed", detail=str(error), exc_info=trace)

    def _lead(self, *, leads: bool) -> None:
        if leads != self.leads:
            _log.info("monitor.leads" if leads else "monitor.stands-by", monitor=self._name)
        self.leads = leads
        metrics.MONITOR_LEADS.set(float(leads))
