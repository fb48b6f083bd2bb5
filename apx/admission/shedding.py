"""Shedding: how much work a process takes on at once, and who is turned away first when that is too much.

    work under way   0 ──────────── 67 % ───── 83 % ───── 100 % ───── 125 %   of the limit
                                     │          │           │           └ from here on, who collects what was accepted
                     three plans:    └ lowest   └ middle    └ highest

Each plan has its share of the limit; the highest has all of it. What a lower plan may not use is free for a higher one
at once, without a queue, so a flood of the low leaves the high their room, and one of the high takes that of the low.
Who collects may be anybody: against the plans no more of it counts than half of the limit.

The limit follows the event loop. `watch` lets itself be called again and again and sees how long that takes: a task
that is ready waits for all that are ready before it. A wait that stands over `late_s` for a twentieth of a second is
overload, as in CoDel (RFC 8289); one long wait alone, a collection of garbage or a policy that is compiled, is none.
Then the limit falls below what was under way, in proportion; else it grows. Waiting for a store takes no processor: it
is bounded by the most that may be under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from statistics import median_low

from apx.clock import Clock

COLLECTING = 101
"""The priority of who asks for a result or its state, above every plan's: the work for it is done already."""
LOOK_S = 0.05
_FEWEST = 2
"""Waits that make a look: fewer are one stall."""
_ASK_S = 0.01
_LOWEST_SHARE = 0.5
_COLLECTING_SHARE = 1.25
_MOST_AGAINST_PLANS = 0.5
"""How much of the limit collecting takes from the plans."""
_MOST_FALL = 0.25
_ROUNDING = 1e-9
_GROWS, _GROWS_UNUSED = 1.25, 1.05
"""How fast the limit rises in one look: near it, and far from it."""
_RETRY_AFTER_S = (1, 5)


class Shedder:
    """The work of one event loop: `enter` by priority, `leave` when it is done or waits for others."""

    def __init__(self, clock: Clock, *, least: int, most: int, late_s: float, chance: Callable[[], float]) -> None:
        """Keep the limit within `least` and `most`. `chance` returns a number from 0 to 1 and spreads the returns."""
        self._clock = clock
        self._least, self._most, self._late_s = least, most, late_s
        self._chance = chance
        self._limit = float(most)
        self._shares: dict[int, float] = {}
        self._bounds: dict[int, int] = {}
        self._lowest = self._most_against_plans = 0
        self._busy = self._collecting = self._arriving = self._peak = 0
        self._waits: list[float] = []
        self._since = clock.monotonic()
        self.rank(())

    @property
    def limit(self) -> int:
        """Return how much may be under way now, for the highest plan."""
        return int(self._limit)

    @property
    def busy(self) -> int:
        """Return how much is under way, and how much has arrived and has not begun."""
        return self._busy + self._arriving

    def rank(self, priorities: Iterable[int]) -> None:
        """Say which priorities the plans have: their order counts, not their distance."""
        ranked = sorted(set(priorities))
        step = (1 - _LOWEST_SHARE) / max(1, len(ranked))
        shares = {priority: _LOWEST_SHARE + step * place for place, priority in enumerate(ranked, start=1)}
        self._shares = {**shares, COLLECTING: _COLLECTING_SHARE}
        self._bound()

    def pressed(self) -> bool:
        """Tell whether anybody at all would be turned away now. Costs next to nothing."""
        return self._busy + self._arriving >= self._lowest

    def has_room(self, priority: int) -> bool:
        """Tell whether work of this priority would be taken on; of one that was not ranked, as of the lowest."""
        busy = self._busy + self._arriving
        if priority != COLLECTING:
            busy -= max(0, self._collecting - self._most_against_plans)
        return busy < self._bounds.get(priority, self._lowest)

    def enter(self, priority: int) -> bool:
        """Take work on, if there is room; then `leave` must follow."""
        if not self.has_room(priority):
            return False
        self._busy += 1
        self._collecting += priority == COLLECTING
        self._peak = max(self._peak, self._busy + self._arriving)
        return True

    def leave(self, priority: int) -> None:
        """Say that work of this priority is done, or waits for something that is not this process."""
        self._busy -= 1
        self._collecting -= priority == COLLECTING

    def arrive(self) -> None:
        """Count what was read and will begin after what is ready before it; `begin` must follow."""
        self._arriving += 1

    def begin(self) -> None:
        """Say that what had arrived begins."""
        self._arriving -= 1

    def retry_after_s(self) -> int:
        """Return when to come back, so that not all who were turned away do so together."""
        first, last = _RETRY_AFTER_S
        return first + int(self._chance() * (last - first + 1))

    async def watch(self) -> None:
        """Measure the waits of this event loop, until cancelled."""
        while True:
            await asyncio.sleep(_ASK_S)
            await asyncio.sleep(0)  # a timer runs before the sockets are looked at: go on after that, ahead of the rest
            asked = self._clock.monotonic()
            await asyncio.sleep(0)  # behind all that is ready now, and one look at the sockets
            self.waited(self._clock.monotonic() - asked)

    def waited(self, seconds: float) -> None:
        """Take in how long a task that was ready had to wait."""
        self._waits.append(seconds)
        now = self._clock.monotonic()
        if now - self._since >= LOOK_S and len(self._waits) >= _FEWEST:
            self._adjust(median_low(self._waits))
            self._waits.clear()
            self._since, self._peak = now, self.busy

    def _adjust(self, wait_s: float) -> None:
        if wait_s > self._late_s and self._peak >= self._least:  # with less under way it is not what makes it late
            under_way = min(self._limit, float(self._peak))
            self._limit = max(float(self._least), under_way * max(_MOST_FALL, self._late_s / wait_s))
        else:
            growth = _GROWS if 2 * self._peak >= self._limit else _GROWS_UNUSED
            self._limit = min(float(self._most), max(self._limit * growth, self._limit + 1))
        self._bound()

    def _bound(self) -> None:
        limit = self._limit
        self._bounds = {one: max(1, int(share * limit + _ROUNDING)) for one, share in self._shares.items()}
        self._lowest = min(self._bounds.values())
        self._most_against_plans = int(limit * _MOST_AGAINST_PLANS)
