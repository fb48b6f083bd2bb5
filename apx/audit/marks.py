"""Marks of budgets that were passed: each told once, in the audit log, which is also what remembers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from apx.audit.entry import Change
from apx.audit.select import Wanted, newest
from apx.audit.store import AuditStore
from apx.catalog.model import Mark
from apx.limits.budgets import Standing
from apx.telemetry import metrics

Tell = Callable[[Standing, Mark], Awaitable[None]]
"""May be given the same again. Raises `Unavailable`."""
ACTION, ACTOR = "budget-mark", "control"
_SLACK_MS = 3_600_000
"""How far the log's clock may be behind the one that windows are counted by."""
_MOST_MARKS = 5_000
"""That one org can have in a month: six budgets of ten marks each, day by day."""
_MOST_KEPT = 100_000
_log = structlog.get_logger(__name__)


async def tell_mark(audit: AuditStore, standing: Standing, mark: Mark) -> None:
    """Tell that a budget reached a mark: in the audit log, as a warning, as a metric. Raises `Unavailable`."""
    change = _change(standing, mark)
    await audit.append([change])
    _log.warning("budget.mark", org=standing.org, budget=standing.budget.name, mark=change.after, detail=change.why)
    metrics.BUDGET_MARKS.inc(mark.does)


class Teller:
    """Tells what is new; what was told stands in the log, so that a restart tells nothing again.

    The org is told first: after a crash in between it is told a second time, rather than never.
    """

    def __init__(self, audit: AuditStore, tell_org: Tell | None = None) -> None:
        self._audit = audit
        self._tell_org = tell_org
        self._told: set[tuple[str, str, str]] = set()

    async def tell(self, standing: Standing) -> list[Mark]:
        """Tell the marks that a budget has passed and that were not told; return them. Raises `Unavailable`."""
        told = []
        for mark in standing.passed:
            change = _change(standing, mark)
            name = change.org, change.subject, change.after
            if name in self._told:
                continue
            if not await self._is_in_the_log(standing, change):
                if self._tell_org is not None:
                    await self._tell_org(standing, mark)
                await tell_mark(self._audit, standing, mark)
                told.append(mark)
            if len(self._told) >= _MOST_KEPT:
                self._told.clear()  # the log knows them
            self._told.add(name)
        return told

    async def _is_in_the_log(self, standing: Standing, change: Change) -> bool:
        since_ms = int(standing.span.begins_s * 1000) - _SLACK_MS
        wanted = Wanted(since_ms=since_ms, org=change.org, action=ACTION)
        entries = await newest(self._audit, wanted, _MOST_MARKS)
        return any((entry.subject, entry.after) == (change.subject, change.after) for entry in entries)


def _change(standing: Standing, mark: Mark) -> Change:
    budget = standing.budget
    return Change(
        action=ACTION,
        actor=ACTOR,
        subject=f"budget {budget.name} of org {standing.org}",
        org=standing.org,
        after=f"{mark.percent:g} % in {standing.span.label}: {mark.does}",
        why=f"{standing.spent_usd:.2f} of {budget.usd:.2f} USD are spent",
    )
