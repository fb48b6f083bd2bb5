"""The audit log in this process. The fake of the `AuditStore` port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from apx.audit.checkpoint import Checkpoint
from apx.audit.entry import Change, Entry, Head
from apx.audit.store import MOST_CHECKPOINTS, AuditStore, Mirrored, compare_and_append
from apx.clock import Clock, SystemClock


class MemoryAudit(AuditStore):
    """A list and its head."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Start empty; `clock` stands for the store's."""
        self._clock = clock or SystemClock()
        self._head = Head()
        self._entries: list[Entry] = []
        self._checkpoints: dict[int, Checkpoint] = {}

    async def append(self, changes: Sequence[Change], *, mirrored: Mirrored | None = None) -> list[Entry]:
        """Append changes behind the head."""
        return await compare_and_append(self._look, self._swap, changes, mirrored)

    async def read(self, after: int = 0, limit: int = 500) -> list[Entry]:
        """Return the entries behind a number."""
        return self._entries[after : after + limit]

    async def head(self) -> Head:
        """Return where the log ends."""
        return self._head

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint."""
        self._checkpoints[checkpoint.number] = checkpoint
        for number in sorted(self._checkpoints)[:-MOST_CHECKPOINTS]:
            del self._checkpoints[number]

    async def checkpoints(self) -> list[Checkpoint]:
        """Return those that are kept."""
        return [self._checkpoints[number] for number in sorted(self._checkpoints)]

    async def _look(self) -> tuple[Head, int, Head]:
        head, now_ms = self._head, int(self._clock.time() * 1000)
        await asyncio.sleep(0)  # as a store in another process lets others be first
        return head, now_ms, head

    async def _swap(self, seen: Head, new: Head, entries: list[Entry]) -> bool:
        if self._head is not seen:
            return False
        self._head = new
        self._entries += entries
        return True
