"""A product's error budget: how much of what its SLO allows to fail has failed, over the last day.

The SLO itself is over 30 days and lives where metrics are kept for so long; a day is what the counters hold in minutes,
and what matters to whether this is a moment to change something.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from apx.catalog.model import DAY_S, Slo
from apx.errors import NotFound, ReleaseRejected
from apx.release.load import Loader
from apx.rollout.active import RolloutStore
from apx.rollout.counts import Counts, CountStore

LEAST_ANSWERS = 1_000
"""With fewer a single failure would spend it."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to fail; `spent` is 1 when nothing is."""

    spent: float
    text: str
    """For an operator: what was counted."""


async def error_budget(counts: CountStore, product: str, slo: Slo, now_ms: int) -> Budget:
    """Return a product's budget now. Raises `Unavailable`."""
    counted = await counts.read(product, now_ms - DAY_S * 1000)
    return budget_of(slo, counted.by.values())


async def live_budgets(
    store: RolloutStore, counts: CountStore, loader: Loader, products: Iterable[str]
) -> dict[str, Budget]:
    """Return the budgets of those products that are live, by what their stable releases promise. Raises `Unavailable`.

    One whose stable release cannot be read has none: `start` refuses it for that.
    """
    live, now_ms = (await store.read()).products, await store.now_ms()
    budgets = {}
    for product in sorted(live.keys() & set(products)):
        try:
            slo = (await loader.manifest(live[product].stable, product)).spec.slo
        except (NotFound, ReleaseRejected):
            continue
        budgets[product] = await error_budget(counts, product, slo, now_ms)
    return budgets


def budget_of(slo: Slo, seen: Iterable[Counts]) -> Budget:
    """Return the budget from what was counted."""
    total = Counts(latency={})
    for counts in seen:
        total.add(counts)
    if total.answers < LEAST_ANSWERS:
        return Budget(spent=0.0, text=f"{total.answers} answers in the last day, too few to tell")
    failed = 100 * total.errors / total.answers
    allowed = 100 - slo.availability_percent
    text = f"{failed:.2f} % of {total.answers} answers failed in the last day, {allowed:.2f} % may"
    return Budget(spent=failed / allowed, text=text)
