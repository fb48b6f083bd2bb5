"""Shared buckets in this process: the fake of the `LimitStore` port, and its model."""

from __future__ import annotations

from collections.abc import Sequence

from apx.clock import Clock
from apx.limits.store import Grant, Want


class MemoryLimits:
    """Buckets by name: level, time, and what each holder has until when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float, dict[str, tuple[float, float]]]] = {}

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        """Tell what was used, and hold what is wanted as far as it is there."""
        return [self._one(holder, want, ttl_s) for want in wants]

    def _one(self, holder: str, want: Want, ttl_s: float) -> Grant:
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
        return Grant(mine, max(0.0, level))
