"""Where a product's error budget is read: the `Objectives` port, the counters' day, and one source behind another.

An SLO is over 30 days, which only the place that keeps metrics for so long can tell. The counters hold a day in
minutes: all that an installation on its own has, and what is asked where the other does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from apx.catalog.model import DAY_S, Slo
from apx.clock import Clock
from apx.errors import Misconfigured, NotFound, ReleaseRejected, Unavailable
from apx.release.load import Loader
from apx.rollout.active import RolloutStore
from apx.rollout.budget import LEAST_ANSWERS, Budget, budget_of
from apx.rollout.counts import CountStore

MOST_AT_ONCE = 8
"""Products of one wave whose budgets are read side by side."""
ASKED_AGAIN_AFTER_S = 30.0
"""A source that was not heard is left alone for so long: a wave of products does not wait for it one by one."""


class Objectives(Protocol):
    """How much of what a product's SLO lets fail has failed.

    - **Window**: 30 days back from now, as the SLO promises, or as much of them as the source keeps; `Budget.text`
      names it. A failure is an answer of the backend by its own fault: none at all, or a status of 500 or more.
    - **Freshness**: what failed six minutes ago is in it. A source that knows that it is further behind is away, even
      if it has numbers.
    - **Away**: `Unavailable`, within 20 s, and never a guess: what is partial, not a number, or not understood is no
      budget. `Misconfigured` where the source refuses this process: asking again will not help.
    - None says that it answered and has too little to tell (fewer than `LEAST_ANSWERS`), which stands in nobody's way.

    It only reads. Whoever cannot read a budget starts nothing without `force` (fail-closed).
    """

    async def spent(self, product: str, slo: Slo) -> Budget | None:
        """Return a product's budget by `slo`, as it is now. Raises `Unavailable` or `Misconfigured`."""
        ...


class DayObjectives(Objectives):
    """The counters' last day: what matters to whether this is a moment to change something, and current to the second.

    A spent day may leave budget in the month, and the reverse; minutes are kept for two days, so no more can be told.
    """

    def __init__(self, counts: CountStore, now_ms: Callable[[], Awaitable[int]]) -> None:
        """Read `counts` back from `now_ms`, the store's clock."""
        self._counts = counts
        self._now_ms = now_ms

    async def spent(self, product: str, slo: Slo) -> Budget | None:
        """Return the budget of the last day."""
        counted = await self._counts.read(product, await self._now_ms() - DAY_S * 1000)
        return budget_of(slo, counted.by.values())


class Fallback(Objectives):
    """One source and, where it does not answer or has too little to tell, another.

    That the first was not heard is told in `Budget.doubt`, also where the second has too little to tell; then nothing
    is known to be spent. Where the second does not answer either, its `Unavailable` is raised. It may take as long as
    both together.
    """

    def __init__(self, first: Objectives, second: Objectives, clock: Clock) -> None:
        self._first = first
        self._second = second
        self._clock = clock
        self._away = ""
        self._until_s = 0.0

    async def spent(self, product: str, slo: Slo) -> Budget | None:
        """Return the first source's budget, else the second's."""
        found, doubt = await self._heard(product, slo)
        if found is not None:
            return found
        found = await self._second.spent(product, slo)
        if not doubt:
            return found
        if found is None:
            return Budget(spent=0.0, text=f"under {LEAST_ANSWERS} answers, too few to tell", doubt=doubt)
        return msgspec.structs.replace(found, doubt=doubt)

    async def _heard(self, product: str, slo: Slo) -> tuple[Budget | None, str]:
        """Ask the first source; return what it said, or why it was not heard."""
        if self._clock.monotonic() < self._until_s:
            return None, self._away
        try:
            return await self._first.spent(product, slo), ""
        except (Unavailable, Misconfigured) as error:
            self._away = f"of 30 days nothing is known: {error}"
            self._until_s = self._clock.monotonic() + ASKED_AGAIN_AFTER_S
            return None, self._away


async def live_budgets(
    store: RolloutStore, objectives: Objectives, loader: Loader, products: Iterable[str]
) -> dict[str, Budget]:
    """Return the budgets of those products that are live, by what their stable releases promise.

    A product of which too little is known has none, and so has one whose stable release cannot be read: `start` refuses
    it for that. Raises `Unavailable` or `Misconfigured`.
    """
    live = (await store.read()).products
    few = asyncio.Semaphore(MOST_AT_ONCE)

    async def read(product: str) -> Budget | None:
        async with few:
            try:
                slo = (await loader.manifest(live[product].stable, product)).spec.slo
            except (NotFound, ReleaseRejected):
                return None
            return await objectives.spent(product, slo)

    asked = sorted(live.keys() & set(products))
    try:
        async with asyncio.TaskGroup() as reading:
            tasks = {product: reading.create_task(read(product)) for product in asked}
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return {product: found for product, task in tasks.items() if (found := task.result()) is not None}
