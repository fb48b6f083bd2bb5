"""The loop that looks at budgets, and what operators are shown of them. The clock begins on 2023-11-14 at 22:13 UTC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from apx import bootstrap
from apx.admission.orgs import OrgTerms
from apx.audit.marks import Teller
from apx.catalog.model import Budget
from apx.errors import Unavailable
from apx.limits.budgets import MICRO, bucket_of, spans_of, window_of
from apx.limits.store import Spent, Want
from services.control.budgets import LEASE, look, watch_budgets
from tests.unit.control.office import Office

DAILY = Budget(name="daily", usd=10, per="day")


async def spend(office: Office, usd: float, now_s: float, budget: Budget = DAILY) -> None:
    [(_, span)] = spans_of([budget], "UTC", now_s)
    bucket, window, micro = bucket_of("acme", budget, span), window_of(budget, span), usd * MICRO
    await office.limits.exchange("r", [Want(bucket=bucket, rate=window, used=0, hold=micro, need=micro)], 5)
    await office.limits.exchange("r", [Want(bucket=bucket, rate=window, used=micro, hold=0)], 5)


async def told(office: Office) -> list[str]:
    return [entry.after for entry in await office.audit.read() if entry.action == "budget-mark"]


async def test_each_mark_of_each_org_is_told_once(office: Office) -> None:
    await office.orgs.put_terms("acme", OrgTerms(budgets=(DAILY,)))
    await office.orgs.put_terms("globex", OrgTerms(budgets=(DAILY,)))
    teller = Teller(office.audit)
    for usd in (1, 5, 1):
        await spend(office, usd, office.clock.time())
        await look(office.backends, teller, office.clock)
    assert await told(office) == ["50 % in 2023-11-14: notice"]
    await spend(office, 9, office.clock.time())  # more than is left
    await look(office.backends, Teller(office.audit), office.clock)
    assert await told(office) == [
        "50 % in 2023-11-14: notice",
        "80 % in 2023-11-14: notice",
        "100 % in 2023-11-14: stop",
    ]


async def test_the_last_requests_of_a_day_are_told_after_it(office: Office) -> None:
    await office.orgs.put_terms("acme", OrgTerms(budgets=(DAILY,)))
    await spend(office, 6, office.clock.time())
    office.clock.advance(6_400 + 60)
    await look(office.backends, Teller(office.audit), office.clock)
    assert await told(office) == ["50 % in 2023-11-14: notice"]


async def test_budgets_are_shown_as_they_stand(office: Office, admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/api/v1/orgs/acme/budgets")).status_code == 404
    await office.orgs.put_terms("acme", OrgTerms(budgets=(DAILY,)))
    await spend(office, 6, office.clock.time())
    [shown] = (await admin.get("/api/v1/orgs/acme/budgets")).json()
    assert (shown["budget"], shown["spent_usd"], shown["limit_usd"], shown["left_usd"]) == ("daily", 6.0, 10.0, 4.0)
    assert [mark["passed"] for mark in shown["marks"]] == [True, False, False]


async def test_an_org_without_budgets_has_none_to_show(office: Office, admin: httpx.AsyncClient) -> None:
    await office.orgs.put_terms("acme", OrgTerms())
    assert (await admin.get("/api/v1/orgs/acme/budgets")).json() == []


@asynccontextmanager
async def watching(office: Office, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr("services.control.budgets._EVERY_S", 0.01)
    news = bootstrap.news(office.backends, bootstrap.dispatcher(office.backends))
    task = asyncio.create_task(watch_budgets(office.backends, news, office.clock))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_told(office: Office, marks: int) -> None:
    async with asyncio.timeout(5):
        while len(await told(office)) < marks:  # noqa: ASYNC110 -- another task's, no event
            await asyncio.sleep(0.01)


async def test_it_goes_on_after_whatever_went_wrong(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.orgs.put_terms("acme", OrgTerms(budgets=(DAILY,)))
    await spend(office, 6, office.clock.time())
    wrong: list[Exception] = [Unavailable("away"), RuntimeError("a bug")]
    spent = office.limits.spent

    async def sometimes(buckets: Sequence[str]) -> list[Spent]:
        if wrong:
            raise wrong.pop()
        return await spent(buckets)

    monkeypatch.setattr(office.limits, "spent", sometimes)
    async with watching(office, monkeypatch):
        await until_told(office, 1)
    assert wrong == []


async def test_of_several_processes_one_looks(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.orgs.put_terms("acme", OrgTerms(budgets=(DAILY,)))
    await spend(office, 6, office.clock.time())
    assert await office.backends.leases.hold(LEASE, "another", 60)
    asked = asyncio.Event()
    hold = office.backends.leases.hold

    async def noted(name: str, holder: str, ttl_s: float) -> bool:
        asked.set()
        return await hold(name, holder, ttl_s)

    monkeypatch.setattr(office.backends.leases, "hold", noted)
    async with watching(office, monkeypatch):
        async with asyncio.timeout(5):
            await asked.wait()
        assert await told(office) == []
        office.clock.advance(61)
        await until_told(office, 1)
