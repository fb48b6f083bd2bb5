"""Shared buckets in Valkey. The `LimitStore` port.

Not waited for on the disk: what is lost with the power is that tokens were used, for as long as the bucket would have
taken to fill, or until its window ends. A store that comes back empty has full buckets.
"""

from __future__ import annotations

from collections.abc import Sequence

from valkey.asyncio import Valkey

from apx.backends.valkey.batching import Batcher
from apx.backends.valkey.connection import Script
from apx.limits.store import KEPT_S, Grant, LimitStore, Settle, Spent, Want
from apx.limits.windows import Window

MOST = 256


class ValkeyLimits(LimitStore):
    """What several requests want in the same moment goes in one script."""

    def __init__(self, client: Valkey) -> None:
        self._lend, self._spent, self._spend = (Script(client, name) for name in ("limits", "spent", "spend"))
        self._batchers: dict[tuple[str, float], Batcher[Sequence[Want], list[Grant]]] = {}

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        """Tell what was used, and hold what is wanted as far as it is there."""
        known = holder, ttl_s
        if known not in self._batchers:
            self._batchers[known] = Batcher(lambda batch: self._send(holder, batch, ttl_s), most=MOST)
        return await self._batchers[known](wants)

    async def spent(self, buckets: Sequence[str]) -> list[Spent]:
        """Return what is used of windows' buckets."""
        answers = iter(await self._spent(*buckets) if buckets else ())
        return [Spent(float(used), int(next(answers))) for used in answers]

    async def settle(self, costs: Sequence[Settle]) -> None:
        """Add to what was used of windows, or take from it."""
        args = [part for cost in costs for part in (cost.bucket, int(cost.ends_s * 1000), cost.tokens)]
        await self._spend(int(KEPT_S * 1000), *args)

    async def aclose(self) -> None:
        """Send what waits."""
        for batcher in self._batchers.values():
            await batcher.aclose()

    async def _send(self, holder: str, batch: Sequence[Sequence[Want]], ttl_s: float) -> list[list[Grant]]:
        args = [part for wants in batch for want in wants for part in _told(want)]
        answers = iter(await self._lend(holder, int(ttl_s * 1000), int(KEPT_S * 1000), *args))
        return [
            [Grant(float(next(answers)), float(next(answers)), float(next(answers))) for _ in wants] for wants in batch
        ]


def _told(want: Want) -> tuple[str | float, ...]:
    bound = want.rate
    ends_ms = int(bound.ends_s * 1000) if isinstance(bound, Window) else 0
    return want.bucket, bound.burst, bound.per_second, ends_ms, want.used, want.hold, want.need
