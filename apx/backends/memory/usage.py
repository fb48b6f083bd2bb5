"""Usage events in process: `apx.usage.events.UsageLog` for tests and for trying things out."""

from __future__ import annotations

import itertools

from apx.requests.model import Envelope, Result
from apx.usage.events import READERS, Page, Reader, UsageEvent, accepted, event_of, is_counted


class MemoryUsage:
    """Events of one process, as one reader sees them; gone with it."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._events: dict[int, UsageEvent] = {}
        self._readers: dict[Reader, MemoryUsage] = {READERS[0]: self}

    def reader(self, reader: Reader) -> MemoryUsage:
        """Return the same log as another reader sees it, from its first call on."""
        if reader not in self._readers:
            self._readers[reader] = MemoryUsage()
        return self._readers[reader]

    def note(self, envelope: Envelope, result: Result) -> None:
        """Add the event of a request that leaves its lane."""
        if is_counted(envelope.product):
            for reader in self._readers.values():
                reader._events[next(reader._numbers)] = event_of(accepted(envelope), result)  # noqa: SLF001 -- its own class

    async def waiting(self, limit: int) -> Page | None:
        """Return the oldest events; None when there are none."""
        oldest = dict(itertools.islice(self._events.items(), limit))
        if not oldest:
            return None
        positions = tuple(map(str, oldest))
        return Page(name=f"{positions[0]}_{positions[-1]}", events=list(oldest.values()), positions=positions)

    async def forget(self, page: Page) -> None:
        """Drop the page's events."""
        for position in page.positions:
            self._events.pop(int(position), None)
