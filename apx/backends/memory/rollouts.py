"""Live releases in this process. The fake of the `RolloutStore` port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from apx.clock import Clock, SystemClock
from apx.errors import Conflict
from apx.rollout.active import MOST_EVENTS, Active, AuditEntry, RolloutStore, Snapshot

_SIGN_OF_LIFE_S = 0.5


class MemoryRollouts(RolloutStore):
    """One snapshot and its history."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Start empty; `clock` stands for the store's."""
        self._clock = clock or SystemClock()
        self._snapshot = Snapshot()
        self._history: list[AuditEntry] = []
        self._changed = asyncio.Condition()

    async def read(self) -> Snapshot:
        """Return the live state of all products."""
        return self._snapshot

    async def change(self, new: Active, audit: AuditEntry) -> Active:
        """Set a product's state when its revision still is `new.revision`."""
        now = self._snapshot.products.get(new.product)
        if (now.revision if now else 0) != new.revision:
            raise Conflict(f"{new.product} is at another revision than {new.revision}")
        changed = msgspec.structs.replace(new, revision=new.revision + 1)
        self._snapshot = Snapshot(
            revision=self._snapshot.revision + 1, products={**self._snapshot.products, new.product: changed}
        )
        self._history.append(audit)
        async with self._changed:
            self._changed.notify_all()
        return changed

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Yield the live state now, whenever it changes, and twice a second."""
        while True:
            seen = self._snapshot
            yield seen
            async with self._changed:
                if seen is self._snapshot:
                    try:
                        # Not `wait_for`: before Python 3.12 it can swallow a cancellation.
                        async with asyncio.timeout(_SIGN_OF_LIFE_S):
                            await self._changed.wait()
                    except TimeoutError:
                        continue

    async def history(self, product: str, limit: int = 50) -> list[AuditEntry]:
        """Return the newest entries of a product, newest first."""
        return [entry for entry in reversed(self._history) if entry.product == product][:limit]

    async def events(self, after: str = "") -> AsyncIterator[tuple[str, AuditEntry]]:
        """Yield every change with its position: its number."""
        known = after.isdecimal() and int(after) <= len(self._history)
        seen = int(after) if known else 0 if after else len(self._history)
        while True:
            seen = max(seen, len(self._history) - MOST_EVENTS)
            while seen < len(self._history):
                seen += 1
                yield str(seen), self._history[seen - 1]
            async with self._changed:
                await self._changed.wait_for(lambda: seen < len(self._history))  # noqa: B023 -- asked within the turn

    async def now_ms(self) -> int:
        """Return this process's clock."""
        return int(self._clock.time() * 1000)
