"""Usage events in process: `apx.usage.events.UsageLog` for tests and for trying things out."""

from __future__ import annotations

import itertools

from apx.requests.model import Envelope, Result
from apx.usage.events import Page, UsageEvent, accepted, event_of


class MemoryUsage:
    """Events of one process; gone with it."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._events: dict[int, UsageEvent] = {}

    def note(self, envelope: Envelope, result: Result) -> None:
        """Add the event of a request that leaves its lane."""
        self._events[next(self._numbers)] = event_of(accepted(envelope), result)

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
