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
_LONGEST_MS = 33 * 86_400_000
"""Before a day or a month begins, the first that may count to a month that is, or that has just ended somewhere."""
_MOST_KEPT = 200_000
_Name = tuple[str, str, str]
"""Org, budget, and the mark in its window."""
_log = structlog.get_logger(__name__)


async def tell_mark(audit: AuditStore, standing: Standing, mark: Mark) -> None:
    """Tell that a budget reached a mark: in the audit log, as a warning, as a metric. Raises `Unavailable`."""
    change = _change(standing, mark)
    await audit.append([change])
    _log.warning("budget.mark", org=standing.org, budget=standing.budget.name, mark=change.after, detail=change.why)
    metrics.BUDGET_MARKS.inc(mark.does)


class Teller:
    """Tells what is new; what was told stands in the log: neither a restart nor another process tells it again.

    The org is told first: after a crash in between it is told a second time, rather than never.
    """

    def __init__(self, audit: AuditStore, tell_org: Tell | None = None) -> None:
        self._audit = audit
        self._tell_org = tell_org
        self._told: set[_Name] = set()
        self._read_to: int | None = None
        """The number of the last entry that was looked at."""

    async def tell(self, standing: Standing) -> list[Mark]:
        """Tell the marks that a budget has passed and that were not told; return them. Raises `Unavailable`."""
        passed = {_name(_change(standing, mark)): mark for mark in standing.passed}
        if passed.keys() <= self._told:
            return []
        await self._catch_up(int(standing.span.begins_s * 1000) - _LONGEST_MS)
        fresh = [(name, mark) for name, mark in passed.items() if name not in self._told]
        for name, mark in fresh:
            if self._tell_org is not None:
                await self._tell_org(standing, mark)
            await tell_mark(self._audit, standing, mark)
            self._told.add(name)
        return [mark for _, mark in fresh]

    async def _catch_up(self, since_ms: int) -> None:
        """Read what was told: at first since a moment, then what came since the last time."""
        if len(self._told) > _MOST_KEPT:
            self._told, self._read_to = set(), None
        if self._read_to is None:
            head = await self._audit.head()
            wanted = Wanted(since_ms=since_ms, action=ACTION)
            told = await newest(self._audit, wanted, _MOST_KEPT, before=head.number + 1)
            self._told = set(map(_name, told.entries))
            self._read_to = head.number
        while page := await self._audit.read(self._read_to):
            self._told |= {_name(entry) for entry in page if entry.action == ACTION}
            self._read_to = page[-1].number


def _name(told: Change) -> _Name:
    return told.org, told.subject, told.after


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
