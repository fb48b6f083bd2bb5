"""Leases in this process. The fake of the `Leases` port."""

from __future__ import annotations

from apx.clock import Clock, SystemClock
from apx.rollout.active import Leases


class MemoryLeases(Leases):
    """Name → who holds it, and until when."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Nobody holds anything; `clock` stands for the store's."""
        self._clock = clock or SystemClock()
        self._held: dict[str, tuple[str, float]] = {}

    async def hold(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take the lease or renew it; False while somebody else holds it."""
        now = self._clock.monotonic()
        other, until = self._held.get(name, (holder, now))
        if other != holder and now < until:
            return False
        self._held[name] = (holder, now + ttl_s)
        return True

    async def release(self, name: str, holder: str) -> None:
        """Give the lease up, if it is ours."""
        if self._held.get(name, ("", 0.0))[0] == holder:
            del self._held[name]
