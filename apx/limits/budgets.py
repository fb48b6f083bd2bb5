"""Budgets in money: what was spent of one in its day or month, and which of its marks that passed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from apx.catalog.model import Budget, Mark
from apx.limits.store import LimitStore, Spent
from apx.limits.windows import Span, Window, span_of

MICRO = 1_000_000
"""Buckets of budgets hold millionths of a dollar."""
_UNBOUNDED = 10**15
"""A thousand million dollars, for one that is counted and never stops."""

_MOST_AT_ONCE = 500


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands."""

    org: str
    budget: Budget
    span: Span
    spent_usd: float
    """As far as routers have told: up to a second ago."""
    stopped: bool = False
    """Something was refused because it would have cost more than was left."""

    @property
    def left_usd(self) -> float:
        """What is left; less than nothing of one that stops nowhere."""
        return self.budget.usd - self.spent_usd

    @property
    def passed(self) -> tuple[Mark, ...]:
        """The marks that were reached; one that stops also is when the rest does not do for the next request."""
        return tuple(
            mark
            for mark in self.budget.marks
            if self.spent_usd >= self.budget.usd * mark.percent / 100 or (mark.does == "stop" and self.stopped)
        )


def micro(usd: float | None) -> float:
    """Return dollars in millionths, without what doubles add to them."""
    return round(usd * MICRO, 3) if usd else 0.0


def bucket_of(org: str, budget: Budget, span: Span) -> str:
    """Name the bucket of a budget's day or month."""
    return f"b:{org}:{budget.name}:{span.label}"


def window_of(budget: Budget, span: Span) -> Window:
    """Return what the bucket holds: as much as may be spent until the budget stops."""
    stop = next((mark for mark in budget.marks if mark.does == "stop"), None)
    return span.of(_UNBOUNDED if stop is None else max(1, round(budget.usd * stop.percent / 100 * MICRO)))


def left_at(budget: Budget, mark: Mark, window: Window) -> float:
    """Return how much the bucket has left when a mark is reached, in millionths."""
    return window.burst - budget.usd * mark.percent / 100 * MICRO


def spans_of(budgets: Sequence[Budget], timezone: str, now_s: float) -> list[tuple[Budget, Span]]:
    """Return budgets with the day or month that a moment is in."""
    return [(budget, span_of(budget.per, timezone, now_s)) for budget in budgets]


async def read_budgets(store: LimitStore, wanted: Sequence[tuple[str, Budget, Span]]) -> list[Standing]:
    """Return how orgs' budgets stand, in their order. Raises `Unavailable`."""
    found: list[Standing] = []
    for at in range(0, len(wanted), _MOST_AT_ONCE):
        page = wanted[at : at + _MOST_AT_ONCE]
        spent = await store.spent([bucket_of(org, budget, span) for org, budget, span in page])
        found += [_standing(*one, known) for one, known in zip(page, spent, strict=True)]
    return found


def shown_budget(standing: Standing) -> dict[str, object]:
    """Show operators how a budget stands."""
    budget = standing.budget
    return {
        "budget": budget.name,
        "per": budget.per,
        "window": standing.span.label,
        "products": list(budget.products),
        "spent_usd": round(standing.spent_usd, 6),
        "limit_usd": budget.usd,
        "left_usd": round(standing.left_usd, 6),
        "resets_ms": int(standing.span.ends_s * 1000),
        "marks": [
            {"percent": mark.percent, "does": mark.does, "passed": mark in standing.passed} for mark in budget.marks
        ],
    }


def _standing(org: str, budget: Budget, span: Span, spent: Spent) -> Standing:
    stopped = spent.short_of >= window_of(budget, span).burst
    return Standing(org=org, budget=budget, span=span, spent_usd=spent.used / MICRO, stopped=stopped)
