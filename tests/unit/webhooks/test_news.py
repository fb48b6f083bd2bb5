"""What orgs hear of budgets and rollouts: once each, and only those whom it concerns."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from apx.admission.keys import KeyRecord
from apx.audit.marks import Teller
from apx.audit.mirror import Mirror
from apx.backends.memory.rollouts import MemoryRollouts
from apx.catalog.model import Budget, Mark
from apx.errors import Unavailable
from apx.limits.budgets import Standing, spans_of
from apx.rollout.active import Active, AuditEntry
from apx.webhooks.events import Event
from apx.webhooks.model import Webhook
from apx.webhooks.news import News
from tests.unit.admission.until import until
from tests.unit.audit.test_mirror import stop
from tests.unit.webhooks.examples import Telling, webhook

BUDGET = Budget(name="monthly", usd=100, per="month")


def standing(spent_usd: float, org: str = "acme") -> Standing:
    [(_, span)] = spans_of([BUDGET], "UTC", 1.7e9)
    return Standing(org=org, budget=BUDGET, span=span, spent_usd=spent_usd)


def change(action: str = "abort", **changes: Any) -> AuditEntry:
    values = {
        "at_ms": 1_700_000_000_000,
        "actor": "ann",
        "action": action,
        "product": "orders",
        "before": "sha256:0",
        "after": "sha256:1",
        "why": "it hurts",
        "rollout": "orders-1",
        "state": "aborted",
        **changes,
    }
    return AuditEntry(**values)


class Platform(Telling):
    def __init__(self) -> None:
        super().__init__()
        self.news = News(self.dispatcher, self.keys, self.clock)
        self.rollouts = MemoryRollouts()

    async def key(self, org: str, product: str = "orders") -> None:
        plans = {product: "free"}
        sha256 = f"{org}-{product}"
        await self.keys.put(KeyRecord(id=sha256, sha256=sha256, org=org, region="us", plans=plans, created_ms=0))

    async def heard(self) -> list[tuple[str, Any]]:
        """Deliver what waits; return what came, with the webhook's path."""
        await self.until_idle()
        sent = [(one.url, msgspec.json.decode(one.body)) for one in self.client.requests]
        return [(url.rpartition("/")[2], body) for url, body in sent]


@pytest.fixture
def platform() -> Platform:
    return Platform()


async def test_an_org_is_told_what_of_its_budget_is_spent(platform: Platform) -> None:
    await platform.store.add(webhook())
    await Teller(platform.audit, platform.news.mark).tell(standing(55))
    [(_, told)] = await platform.heard()
    assert told["type"] == "budget.mark"
    assert told["data"] == {
        "org": "acme",
        "budget": "monthly",
        "window": "2023-11",
        "percent": 50.0,
        "does": "notice",
        "spent_usd": 55.0,
        "budget_usd": 100.0,
    }


async def test_two_marks_at_the_same_share_are_told_both(platform: Platform) -> None:
    await platform.store.add(webhook())
    marks = tuple(Mark(percent=80, does=does) for does in ("notice", "throttle"))
    budget = msgspec.structs.replace(BUDGET, marks=marks)
    await Teller(platform.audit, platform.news.mark).tell(msgspec.structs.replace(standing(85), budget=budget))
    assert sorted(told["data"]["does"] for _, told in await platform.heard()) == ["notice", "throttle"]


async def test_a_mark_that_is_told_again_after_a_crash_comes_once(platform: Platform) -> None:
    await platform.store.add(webhook())
    await platform.news.mark(standing(55), BUDGET.marks[0])  # and then it died: nothing stands in the log
    await Teller(platform.audit, platform.news.mark).tell(standing(56))
    assert len(await platform.heard()) == 1


async def test_a_mark_that_cannot_be_told_to_the_org_is_not_recorded_as_told(platform: Platform) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        await Teller(platform.audit, away).tell(standing(55))
    assert await platform.audit.read() == []


async def test_an_org_whose_webhooks_cannot_be_read_holds_up_no_mark(platform: Platform) -> None:
    async def unreadable(org: str) -> list[Webhook]:
        raise msgspec.ValidationError(f"of {org}: another version's")

    platform.store.of_org = unreadable  # type: ignore[method-assign]
    assert len(await Teller(platform.audit, platform.news.mark).tell(standing(55))) == 1
    assert len(await platform.audit.read()) == 1


async def test_another_window_of_the_budget_is_other_news(platform: Platform) -> None:
    await platform.store.add(webhook())
    [(_, later)] = spans_of([BUDGET], "UTC", 1.7e9 + 30 * 86_400)
    for one in (standing(55), msgspec.structs.replace(standing(55), span=later)):
        await platform.news.mark(one, BUDGET.marks[0])
    assert [told["data"]["window"] for _, told in await platform.heard()] == ["2023-11", "2023-12"]


async def test_a_rollout_is_told_to_the_orgs_that_have_a_key_for_its_product(platform: Platform) -> None:
    for org, product in (("acme", "orders"), ("acme", "exports"), ("globex", "exports")):
        await platform.key(org, product)
        await platform.store.add(webhook(f"wh_{org}{product}", org=org, url=f"https://hooks.example/{org}-{product}"))
    await platform.news.movement("1-1", change())
    heard = await platform.heard()
    assert {path for path, _ in heard} == {"acme-orders", "acme-exports"}
    assert {told["type"] for _, told in heard} == {"rollout.aborted"}


async def test_who_moved_a_rollout_and_why_is_not_told(platform: Platform) -> None:
    await platform.key("acme")
    await platform.store.add(webhook())
    await platform.news.movement("1-1", change())
    [(_, told)] = await platform.heard()
    assert told["data"] == {
        "org": "acme",
        "product": "orders",
        "rollout": "orders-1",
        "state": "aborted",
        "before": "sha256:0",
        "after": "sha256:1",
    }


@pytest.mark.parametrize("action", ["advance", "begin", "supersede", "revert-open", "begin-waiting"])
async def test_a_step_on_the_way_is_no_news(platform: Platform, action: str) -> None:
    await platform.key("acme")
    await platform.store.add(webhook())
    await platform.news.movement("1-1", change(action))
    assert await platform.heard() == []


async def test_a_webhook_that_asks_for_other_products_hears_of_none_of_it(platform: Platform) -> None:
    await platform.key("acme")
    await platform.store.add(webhook(products=("exports",)))
    await platform.news.movement("1-1", change())
    assert await platform.heard() == []


async def test_each_change_is_told_before_it_is_recorded_and_once(platform: Platform) -> None:
    recorded: list[int] = []

    async def tell(position: str, entry: AuditEntry) -> None:
        recorded.append(len(await platform.audit.read()))
        await platform.news.movement(position, entry)

    await platform.key("acme")
    await platform.store.add(webhook())
    active = Active(product="orders", stable="sha256:0")
    for action in ("start", "abort"):
        active = await platform.rollouts.change(active, change(action))
    first = Mirror(platform.rollouts, platform.audit, tell)
    running = [first.run(), Mirror(platform.rollouts, platform.audit, platform.news.movement).run()]
    await _until_mirrored(platform, running, 2)
    assert recorded[:1] == [0]
    assert [told["type"] for _, told in await platform.heard()] == ["rollout.started", "rollout.aborted"]


async def test_what_cannot_be_told_for_a_fault_of_ours_is_recorded_all_the_same(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: list[Event]) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(platform.dispatcher, "tell", broken)
    await platform.rollouts.change(Active(product="orders", stable="sha256:0"), change())
    await _until_mirrored(platform, [Mirror(platform.rollouts, platform.audit, platform.news.movement).run()], 1)


async def _until_mirrored(platform: Platform, running: list[Any], count: int) -> None:
    tasks = [asyncio.create_task(one) for one in running]
    await until(lambda: len(platform.audit._entries) >= count)  # noqa: SLF001 -- the fake's own
    await stop(*tasks)
