"""Counts in this process. The fake of the `CountStore` port."""

from __future__ import annotations

import math
from collections.abc import Mapping

from apx.clock import Clock, SystemClock
from apx.rollout.counts import MOST_PAIRS, By, Counted, Counts, CountStore
from apx.rollout.spans import MINUTE_S, MINUTES_KEPT_S, span

_WRITER_FORGOTTEN_MS = 60_000


class MemoryCounts(CountStore):
    """Product → second → what was counted in it."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Start empty; `clock` stands for the store's."""
        self._clock = clock or SystemClock()
        self._seconds: dict[str, dict[int, dict[By, Counts]]] = {}
        self._writers: dict[str, int] = {}

    async def write(self, process: str, counts: Mapping[str, Mapping[By, Counts]]) -> None:
        """Add what a process has seen since its last write."""
        now_ms = self._now_ms()
        self._writers[process] = now_ms
        for product, by in counts.items():
            seconds = self._seconds.setdefault(product, {})
            _add(seconds.setdefault(now_ms // 1000, {}), by, MOST_PAIRS)
            for second in [one for one in seconds if one < now_ms // 1000 - MINUTES_KEPT_S - MINUTE_S]:
                del seconds[second]

    async def leave(self, process: str) -> None:
        """Forget a writer."""
        self._writers.pop(process, None)

    async def read(self, product: str, since_ms: int, until_ms: int | None = None) -> Counted:
        """Return what was counted of a product."""
        now_ms = self._now_ms()
        wanted = span(since_ms, until_ms, now_ms)
        total: dict[By, Counts] = {}
        for second, by in self._seconds.get(product, {}).items():
            if second in wanted.head or second in wanted.tail or second // MINUTE_S in wanted.minutes:
                _add(total, by)
        writers = {name: at for name, at in self._writers.items() if at > now_ms - _WRITER_FORGOTTEN_MS}
        return Counted(by=total, now_ms=now_ms, writers=writers)

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)


def _add(total: dict[By, Counts], more: Mapping[By, Counts], most: float = math.inf) -> None:
    for (release, org), counts in more.items():
        by = (release, org)
        if by not in total and len(total) >= most:
            by = (release, "")
        total.setdefault(by, Counts(latency={})).add(counts)
