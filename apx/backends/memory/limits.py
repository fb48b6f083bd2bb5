"""Shared buckets in this process: the fake of the `LimitStore` port, and its model."""

from __future__ import annotations

from collections.abc import Sequence

from apx.clock import Clock
from apx.limits.store import KEPT_S, Grant, LimitStore, Settle, Spent, Want
from apx.limits.windows import Window

_Loans = dict[str, tuple[float, float]]
"""What each holder has, and until when."""
_NEW: tuple[float, _Loans, int] = (0.0, {}, 0)


class MemoryLimits(LimitStore):
    """Buckets by name. Of a rate's: level, time, loans; of a window's: what was used, loans, the size at a need."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float, _Loans]] = {}
        self._windows: dict[str, tuple[float, _Loans, int]] = {}

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        """Tell what was used, and hold what is wanted as far as it is there."""
        return [
            self._of_window(holder, want, want.rate, ttl_s)
            if isinstance(want.rate, Window)
            else self._of_rate(holder, want, ttl_s)
            for want in wants
        ]

    async def spent(self, buckets: Sequence[str]) -> list[Spent]:
        """Return what is used of windows' buckets."""
        now, known = self._clock.monotonic(), [self._windows.get(bucket, _NEW) for bucket in buckets]
        return [
            Spent(max(0.0, used + sum(tokens for tokens, till in loans.values() if till <= now)), short_of)
            for used, loans, short_of in known
        ]

    async def settle(self, costs: Sequence[Settle]) -> None:
        """Add to what was used of windows, or take from it."""
        for cost in costs:
            if self._clock.time() < cost.ends_s + KEPT_S:
                used, loans, short_of = self._windows.get(cost.bucket, _NEW)
                lent = sum(tokens for tokens, _ in loans.values())  # of which the use may be told only later
                self._windows[cost.bucket] = max(-lent, used + cost.tokens), loans, short_of

    def _of_rate(self, holder: str, want: Want, ttl_s: float) -> Grant:
        now, rate = self._clock.monotonic(), want.rate
        level, then, loans = self._buckets.get(want.bucket, (float(rate.burst), now, {}))
        loans = {name: loan for name, loan in loans.items() if loan[1] > now}
        mine = loans.pop(holder, (0.0, 0.0))[0]
        mine -= min(mine, want.used)
        others = sum(tokens for tokens, _ in loans.values())
        level = max(0.0, min(rate.burst - others - mine, level + rate.per_second * (now - then)))
        moved = min(want.hold - mine, level)
        mine, level = mine + moved, min(level - moved, rate.burst - others - mine - moved)
        if mine > 0:
            loans[holder] = (mine, now + ttl_s)
        self._buckets[want.bucket] = (max(0.0, level), now, loans)
        return Grant(mine, max(0.0, level), others)

    def _of_window(self, holder: str, want: Want, window: Window, ttl_s: float) -> Grant:
        now = self._clock.monotonic()
        used, loans, short_of = self._windows.get(want.bucket, _NEW)
        used += sum(tokens for tokens, till in loans.values() if till <= now)  # a loan that is over was used
        loans = {name: loan for name, loan in loans.items() if loan[1] > now}
        mine = loans.pop(holder, (0.0, 0.0))[0]
        told = min(mine, want.used)
        used, mine = used + told, mine - told
        others = sum(tokens for tokens, _ in loans.values())
        room = max(0.0, window.burst - used - others)
        if self._clock.time() >= window.ends_s + KEPT_S:
            self._windows.pop(want.bucket, None)
            return Grant(0.0, 0.0)
        mine = min(want.hold, room)
        if mine > 0:
            loans[holder] = (mine, now + ttl_s)
        self._windows[want.bucket] = used, loans, window.burst if mine < want.need else short_of
        return Grant(mine, max(0.0, room - mine), others)
