"""Marks of budgets: each told once, whoever looks, and after whatever restart."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from apx.audit.entry import Change, Entry
from apx.audit.marks import Teller
from apx.backends.memory.audit import MemoryAudit
from apx.catalog.model import Budget, Mark
from apx.clock import ManualClock
from apx.limits.budgets import Standing, read_budgets, shown_budget, spans_of
from apx.limits.store import Spent

MONTHLY = Budget(name="monthly", usd=100, per="month")


class Store:
    """Says what was spent."""

    def __init__(self) -> None:
        self.spends = Spent()

    async def spent(self, buckets: list[str]) -> list[Spent]:
        return [self.spends for _ in buckets]


def standing(spent_usd: float, budget: Budget = MONTHLY, *, now_s: float = 1.7e9, stopped: bool = False) -> Standing:
    [(_, span)] = spans_of([budget], "UTC", now_s)
    return Standing(org="acme", budget=budget, span=span, spent_usd=spent_usd, stopped=stopped)


async def entries(log: MemoryAudit) -> list[str]:
    return [_said(entry) for entry in await log.read()]


def _said(entry: Entry) -> str:
    return f"{entry.action} {entry.actor} {entry.subject} {entry.after} ({entry.why})"


@pytest.mark.parametrize(("spent", "passed"), [(49.99, []), (50, [50]), (80, [50, 80]), (100, [50, 80, 100])])
def test_a_mark_is_passed_once_so_much_is_spent(spent: float, passed: list[int]) -> None:
    assert [mark.percent for mark in standing(spent).passed] == passed


def test_one_that_stops_is_passed_when_the_rest_does_not_do() -> None:
    assert [mark.percent for mark in standing(91, stopped=True).passed] == [50, 80, 100]


async def test_each_mark_is_told_once() -> None:
    log = MemoryAudit()
    teller = Teller(log)
    for spent in (10, 55, 60, 99, 99):
        await teller.tell(standing(spent))
    assert await entries(log) == [
        "budget-mark control budget monthly of org acme 50 % in 2023-11: notice (55.00 of 100.00 USD are spent)",
        "budget-mark control budget monthly of org acme 80 % in 2023-11: notice (99.00 of 100.00 USD are spent)",
    ]


async def test_who_starts_anew_tells_nothing_again() -> None:
    log = MemoryAudit()
    assert [mark.percent for mark in await Teller(log).tell(standing(55))] == [50]
    assert [mark.percent for mark in await Teller(log).tell(standing(85))] == [80]
    assert await Teller(log).tell(standing(85)) == []


async def test_of_two_processes_the_second_tells_what_the_first_has_not() -> None:
    log = MemoryAudit()
    one, other = Teller(log), Teller(log)
    await one.tell(standing(55))
    assert await other.tell(standing(55)) == []
    assert [mark.percent for mark in await other.tell(standing(85))] == [80]
    assert await one.tell(standing(99)) == []


async def test_who_starts_anew_remembers_the_month_that_has_just_ended_elsewhere() -> None:
    """In Auckland December is half a day old when a last look is taken at the November of UTC."""
    clock = ManualClock(datetime(2026, 11, 2, tzinfo=UTC).timestamp())
    log = MemoryAudit(clock)
    [(_, november)] = spans_of([MONTHLY], "UTC", clock.time())
    ended = Standing(org="acme", budget=MONTHLY, span=november, spent_usd=55)
    assert len(await Teller(log).tell(ended)) == 1
    clock.advance(november.ends_s + 600 - clock.time())
    [(_, december)] = spans_of([MONTHLY], "Pacific/Auckland", clock.time())
    anew = Teller(log)
    await anew.tell(Standing(org="globex", budget=MONTHLY, span=december, spent_usd=55))
    assert await anew.tell(ended) == []


async def test_the_log_is_read_once_and_then_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryAudit()
    for _ in range(3):
        await log.append([Change(action="key-create", actor="ann", subject="key")] * 200)
    teller, read = Teller(log), []
    reads = log.read

    async def noted(after: int = 0, limit: int = 500) -> list[Entry]:
        read.append(after)
        return await reads(after, limit)

    monkeypatch.setattr(log, "read", noted)
    for number in range(5):
        await teller.tell(msgspec.structs.replace(standing(55), org=f"org-{number}"))
    assert read[:2] == [100, 0]
    assert min(read[2:]) >= 600


async def test_another_month_budget_or_org_has_its_own() -> None:
    log = MemoryAudit(ManualClock())
    teller = Teller(log)
    other = Budget(name="other", usd=100, per="month", marks=(Mark(percent=50, does="throttle"),))
    await teller.tell(standing(55))
    assert len(await teller.tell(standing(55, now_s=1.7e9 + 30 * 86_400))) == 1
    assert [mark.does for mark in await teller.tell(standing(55, other))] == ["throttle"]


async def test_a_budget_stands_as_the_store_says() -> None:
    store = Store()
    store.spends = Spent(55_500_000.4)
    [(_, span)] = spans_of([MONTHLY], "UTC", 1.7e9)
    [found] = await read_budgets(store, [("acme", MONTHLY, span)])  # type: ignore[arg-type]  # as much of it as is asked
    assert shown_budget(found) == {
        "budget": "monthly",
        "per": "month",
        "window": "2023-11",
        "products": [],
        "spent_usd": 55.5,
        "limit_usd": 100.0,
        "left_usd": 44.5,
        "resets_ms": 1_701_388_800_000,
        "marks": [
            {"percent": 50.0, "does": "notice", "passed": True},
            {"percent": 80.0, "does": "notice", "passed": False},
            {"percent": 100.0, "does": "stop", "passed": False},
        ],
    }


@pytest.mark.parametrize(("size", "stopped"), [(0, False), (50_000_000, False), (100_000_000, True)])
async def test_it_has_stopped_when_somebody_needed_more_than_there_was_of_its_size(size: int, *, stopped: bool) -> None:
    store = Store()
    store.spends = Spent(99_000_000, size)
    [(_, span)] = spans_of([MONTHLY], "UTC", 1.7e9)
    [found] = await read_budgets(store, [("acme", MONTHLY, span)])  # type: ignore[arg-type]  # as above
    assert found.stopped == stopped
