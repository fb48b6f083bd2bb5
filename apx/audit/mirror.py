"""Rollouts in the audit log: every change of the rollouts' own store, exactly once and in its order.

The position that was reached stands in the log's head and moves with the entry, in one step. So a mirror that is killed
goes on where it was, and of two that run at once each event is appended by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from apx.audit.entry import Change
from apx.audit.store import AuditStore, Mirrored
from apx.errors import ApxError, Conflict
from apx.rollout.active import AuditEntry, RolloutStore

Tell = Callable[[str, AuditEntry], Awaitable[None]]
"""Takes a position and the change at it; may be given the same again. Raises `Unavailable`."""
_OLDEST = "0"
_AGAIN_S = 1.0
_log = structlog.get_logger(__name__)


class Mirror:
    """Copies the changes of rollouts into the audit log."""

    def __init__(self, rollouts: RolloutStore, log: AuditStore, tell: Tell | None = None) -> None:
        """Each change is told before it is appended."""
        self._rollouts = rollouts
        self._store = log
        self._tell = tell

    async def run(self) -> None:
        """Mirror until cancelled; where it is hindered, it begins again a second later."""
        while True:
            try:
                await self._follow()
            except ApxError as error:
                _log.warning("audit.not-mirrored", detail=str(error))
            except Exception:  # noqa: BLE001 -- the monitor does more than this
                _log.exception("audit.not-mirrored")
            await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        reached = (await self._store.head()).mirrored
        async for position, event in self._rollouts.events(reached or _OLDEST):
            if self._tell is not None:
                await self._tell(position, event)
            try:
                await self._store.append([mirrored(position, event)], mirrored=Mirrored(before=reached, after=position))
            except Conflict:
                if (await self._store.head()).mirrored != position:
                    raise
                # Another mirror has appended this one.
            reached = position


def mirrored(position: str, event: AuditEntry) -> Change:
    """Return a change of a rollout as the log's entry."""
    after = f"{event.after} {event.state}".strip()
    return Change(
        action=f"rollout-{event.action}",
        actor=event.actor,
        source=event.source,
        subject=f"rollout {event.rollout}" if event.rollout else f"product {event.product}",
        product=event.product,
        before=event.before or "",
        after=after,
        why=event.why,
        done_ms=event.at_ms,
        origin=position,
    )
