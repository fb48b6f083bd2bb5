"""Which orgs are suspended, known in this process without asking."""

from __future__ import annotations

import asyncio

import structlog

from apx.admission.orgs import OrgStore
from apx.errors import Unavailable

_RECONNECT_S = 0.5
_log = structlog.get_logger(__name__)


class Standing:
    """Follows the orgs' states.

    A suspension arrives by push, within milliseconds; one whose push was lost, with the next look, seconds later. While
    the store is away, what was known holds. Before anything is known, every org is `Unavailable`: none is let in that
    may be suspended.
    """

    def __init__(self, store: OrgStore) -> None:
        self._store = store
        self._suspended: frozenset[str] | None = None
        self._changed = asyncio.Event()

    def suspended(self, org: str) -> bool:
        """Tell whether an org is suspended. Does no I/O. Raises `Unavailable` before the first look."""
        if self._suspended is None:
            raise Unavailable("the orgs' states are not known yet")
        return org in self._suspended

    async def until_suspended(self, org: str) -> None:
        """Return once an org is suspended."""
        while self._suspended is None or org not in self._suspended:
            await self._changed.wait()

    async def look(self) -> None:
        """Ask the store for all. Raises `Unavailable`."""
        found = frozenset(state.org for state in await self._store.list_orgs() if state.suspended)
        if found != self._suspended:
            self._suspended = found
            self._changed.set()
            self._changed = asyncio.Event()

    async def follow(self) -> None:
        """Keep up, until cancelled."""
        while True:
            try:
                async for _ in self._store.changes():
                    await self.look()
            except Unavailable:
                pass  # what was known holds
            except Exception:  # noqa: BLE001 -- whatever it was: the next look may go well
                _log.exception("orgs.not-followed")
            await asyncio.sleep(_RECONNECT_S)
