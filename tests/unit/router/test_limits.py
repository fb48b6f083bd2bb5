"""Quotas at the router, as clients see them. The desk's clock begins on 2023-11-14 at 22:13:20 UTC."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apx.admission.orgs import OrgTerms, budgets_of
from apx.catalog.model import Async, Budget, Cost, Mark, OrgQuota, PlanSpec, Quota, Rate, Route
from apx.policy.decision import Decision
from apx.requests.costing import unsettled
from apx.requests.model import Reserved, Result
from apx.telemetry import metrics
from tests.unit.router.desk import Desk

RATE = Rate(per_second=100, burst=100)
TO_MIDNIGHT_S = 6_400


def plan(*quotas: Quota, **changes: Any) -> PlanSpec:
    return PlanSpec(**{"title": "Free", "rate": RATE, "quotas": quotas, **changes})


def daily(requests: int, **changes: Any) -> Quota:
    return Quota(**{"name": "daily", "per": "day", "requests": requests, **changes})


async def test_a_quota_is_told_when_it_has_the_least_left(desk: Desk) -> None:
    desk.serve(plan=plan(daily(50)))
    answer = await desk.post()
    assert answer.headers["ratelimit-policy"] == '"daily";q=50;w=86400'
    assert answer.headers["ratelimit"] == f'"daily";r=49;t={TO_MIDNIGHT_S}'


async def test_a_used_up_quota_is_429_until_its_window_ends(desk: Desk) -> None:
    desk.serve(plan=plan(daily(2)))
    assert [(await desk.post()).status for _ in range(3)] == [202, 202, 429]
    answer = await desk.post()
    assert (answer.code, answer.headers["retry-after"]) == ("quota-exceeded", str(TO_MIDNIGHT_S))
    assert answer.json["detail"] == "The plan's quota 'daily' of this key for the day is used up."
    desk.clock.advance(TO_MIDNIGHT_S - 1)
    assert (await desk.post()).status == 429
    desk.clock.advance(1)
    assert (await desk.post()).status == 202


async def test_a_quota_of_the_org_counts_all_its_keys_of_one_product(desk: Desk) -> None:
    desk.serve(plan=plan(daily(3, of="org")))
    other = {"x-api-key": await desk.give("acme")}
    assert (await desk.post()).status == (await desk.ask("POST", "/orders", other, body=b"{}")).status == 202
    assert (await desk.post()).status == 202
    assert (await desk.ask("POST", "/orders", other, body=b"{}")).status == 429
    assert (await desk.ask("GET", "/-/admit/files/a")).status == 200
    stranger = {"x-api-key": await desk.give("globex")}
    assert (await desk.ask("POST", "/orders", stranger, body=b"{}")).status == 202


async def test_what_a_quota_refuses_takes_nothing_of_the_others(desk: Desk) -> None:
    desk.serve(plan=plan(daily(9), Quota(name="hourly", per="hour", requests=1)))
    await desk.post()
    for _ in range(5):
        answer = await desk.post()
        assert answer.headers["ratelimit"].startswith('"hourly";r=0')
    desk.serve(plan=plan(daily(9)))
    assert (await desk.post()).headers["ratelimit"].startswith('"daily";r=7')


async def test_a_plan_that_changes_in_the_day_keeps_what_was_used(desk: Desk) -> None:
    desk.serve(plan=plan(daily(2)))
    assert [(await desk.post()).status for _ in range(3)] == [202, 202, 429]
    desk.serve(plan=plan(daily(5)))
    assert (await desk.post()).headers["ratelimit"].startswith('"daily";r=2')


class TestTermsOfTheOrg:
    """What an org's file says, which no release carries."""

    async def test_its_rate_and_quotas_count_over_all_products(self, desk: Desk) -> None:
        await give(desk, OrgTerms(quotas=(OrgQuota(name="daily", per="day", requests=2),)))
        assert (await desk.post()).headers["ratelimit"] == f'"org.daily";r=1;t={TO_MIDNIGHT_S}'
        assert (await desk.ask("GET", "/-/admit/files/a")).status == 200
        answer = await desk.post()
        assert (answer.status, answer.code) == (429, "quota-exceeded")
        assert answer.json["detail"] == "The org's quota 'daily' over all products for the day is used up."
        await give(desk, OrgTerms(rate=Rate(per_second=1, burst=1)))
        assert (await desk.post()).headers["ratelimit"].startswith('"org.rate";r=0')
        assert (await desk.post()).status == 429

    async def test_its_time_zone_is_that_of_its_plans_quotas(self, desk: Desk) -> None:
        desk.serve(plan=plan(daily(50)))
        await give(desk, OrgTerms(timezone="Asia/Kolkata"))
        seconds = TO_MIDNIGHT_S + (24 - 5) * 3600 - 1800
        assert (await desk.post()).headers["ratelimit"] == f'"daily";r=49;t={seconds}'

    async def test_another_org_is_not_held_to_them(self, desk: Desk) -> None:
        await give(desk, OrgTerms(rate=Rate(per_second=1, burst=1), allowlist=("198.51.100.0/24",)))
        other = {"x-api-key": await desk.give("globex")}
        assert [(await desk.ask("POST", "/orders", other, body=b"{}")).status for _ in range(3)] == [202] * 3

    async def test_its_keys_are_of_use_only_from_its_networks(self, desk: Desk) -> None:
        await give(desk, OrgTerms(allowlist=("203.0.113.0/24",)))
        assert (await desk.post(x_envoy_external_address="203.0.113.9")).status == 202
        for address in ("198.51.100.1", "", "nonsense"):
            assert (await desk.post(x_envoy_external_address=address)).code == "address-not-allowed"

    async def test_without_terms_only_the_plan_holds(self, desk: Desk) -> None:
        await give(desk, OrgTerms())
        assert (await desk.post()).headers["ratelimit"].startswith('"plan"')


async def give(desk: Desk, terms: OrgTerms) -> None:
    await desk.orgs.put_terms("acme", terms)
    await desk.standing.look()


def budget(usd: float = 0.05, **changes: Any) -> Budget:
    return Budget(**{"name": "daily", "usd": usd, "per": "day", **changes})


CENT = Cost(usd=0.01)


class TestBudgets:
    """Money that requests of an org may cost."""

    async def test_what_would_cost_more_than_is_left_is_429_until_the_window_ends(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(),)))
        assert [(await desk.post()).status for _ in range(5)] == [202] * 5
        answer = await desk.post()
        assert (answer.status, answer.code) == (429, "budget-exceeded")
        assert answer.json["detail"] == "The org's budget 'daily' for the day is used up."
        assert answer.headers["retry-after"] == str(TO_MIDNIGHT_S)
        assert answer.headers["ratelimit-policy"] == '"budget.daily";q=50000;w=86400;qu="micro-usd"'
        desk.clock.advance(TO_MIDNIGHT_S)
        assert (await desk.post()).status == 202

    async def test_one_request_over_a_whole_budget_is_told_so(self, desk: Desk) -> None:
        desk.serve(cost=Cost(usd=1.0))
        await give(desk, OrgTerms(budgets=(budget(),)))
        answer = await desk.post()
        assert (answer.code, "retry-after" in answer.headers) == ("budget-exceeded", False)

    @pytest.mark.parametrize(("usd", "cost_usd", "passed"), [(0.21, 0.07, 3), (1.1, 0.11, 10), (0.3, 0.1, 3)])
    async def test_a_budget_can_be_spent_to_its_last_cent(
        self, desk: Desk, usd: float, cost_usd: float, passed: int
    ) -> None:
        desk.serve(cost=Cost(usd=cost_usd))
        await give(desk, OrgTerms(budgets=(budget(usd),)))
        assert [(await desk.post()).status for _ in range(passed + 1)] == [202] * passed + [429]

    async def test_money_is_not_what_clients_read_of_while_there_is_some(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(),)))
        assert (await desk.post()).headers["ratelimit"].startswith('"plan"')

    async def test_the_policys_word_goes_before_the_products(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        desk.policy.decision = Decision(allow=True, reason="ok", cost_usd=0.03)
        await give(desk, OrgTerms(budgets=(budget(),)))
        assert [(await desk.post()).status for _ in range(2)] == [202, 429]
        assert [one.cost_usd for one in desk.bus.published] == [0.03]

    async def test_a_body_costs_by_the_kib_begun(self, desk: Desk) -> None:
        desk.serve(cost=Cost(usd=0.01, usd_per_kib_request=0.002), routes=(Route(path="/", max_body_bytes=9000),))
        for size in (0, 1, 1024, 1025):
            await desk.post(b"x" * size)
        assert [round(one.cost_usd or 0, 4) for one in desk.bus.published] == [0.01, 0.012, 0.012, 0.014]

    async def test_what_costs_nothing_goes_on_with_nothing_left(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(0.01),)))
        assert [(await desk.post()).status for _ in range(2)] == [202, 429]
        assert (await desk.ask("GET", "/-/admit/files/a")).status == 200

    async def test_a_budget_of_some_products_counts_only_these(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(0.01, products=("files",)),)))
        assert [(await desk.post()).status for _ in range(2)] == [202, 202]

    async def test_one_that_stops_nowhere_refuses_nothing_and_goes_on_counting(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        noticed = budget(0.02, marks=(Mark(percent=100, does="notice"),))
        await give(desk, OrgTerms(budgets=(noticed,)))
        assert [(await desk.post()).status for _ in range(5)] == [202] * 5
        await desk.limiter.aclose()
        [standing] = await budgets_of(desk.limits, "acme", OrgTerms(budgets=(noticed,)), desk.clock)
        assert (round(standing.spent_usd, 6), round(standing.left_usd, 6)) == (0.05, -0.03)
        assert [mark.percent for mark in standing.passed] == [100]

    async def test_a_mark_that_throttles_lowers_the_rates(self, desk: Desk) -> None:
        slow = Mark(percent=40, does="throttle")
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(marks=(slow,), throttle_percent=10.0),)))
        policies = [(await desk.post()).headers["ratelimit-policy"] for _ in range(4)]
        assert policies == ['"plan";q=1000;w=10'] * 2 + ['"plan";q=100;w=10'] * 2
        assert (await desk.ask("GET", "/-/admit/files/a")).headers["ratelimit-policy"] == '"plan";q=100;w=10'
        desk.clock.advance(TO_MIDNIGHT_S)
        assert (await desk.post()).headers["ratelimit-policy"] == '"plan";q=1000;w=10'

    async def test_a_budget_of_one_product_does_not_slow_the_others(self, desk: Desk) -> None:
        slow = budget(0.02, marks=(Mark(percent=50, does="throttle"),), products=("orders",))
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(rate=Rate(per_second=5, burst=10), budgets=(slow,)))
        for _ in range(2):
            await desk.post()
        assert (await desk.post()).headers["ratelimit-policy"] == '"org.rate";q=10;w=2'
        assert (await desk.ask("GET", "/-/admit/files/a")).headers["ratelimit-policy"] == '"org.rate";q=10;w=2'


DONE = Result(id="", org="", product="", release="", state="succeeded", accepted_ms=0, finished_ms=0)


class TestReserved:
    """What is taken of budgets for a request that is queued."""

    async def test_an_envelope_says_what_was_taken_from_which_budgets(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(), budget(name="files", products=("files",)))))
        await desk.post()
        [envelope] = desk.bus.published
        ends_s = desk.clock.time() + TO_MIDNIGHT_S
        assert envelope.reserved == (Reserved("b:acme:daily:2023-11-14", ends_s, 0.01),)

    async def test_what_costs_nothing_takes_nothing(self, desk: Desk) -> None:
        await give(desk, OrgTerms(budgets=(budget(),)))
        await desk.post()
        assert desk.bus.published[0].reserved == ()

    async def test_a_repeat_under_an_idempotency_key_costs_nothing(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(0.03),)))
        assert [(await desk.post(idempotency_key="a")).status for _ in range(10)] == [202] * 10
        assert [(await desk.post()).status for _ in range(3)] == [202, 202, 429]

    async def test_nor_does_what_is_refused_for_a_full_backlog(self, desk: Desk) -> None:
        desk.serve(cost=CENT, async_=Async(backlog=1))
        await give(desk, OrgTerms(budgets=(budget(0.03),)))
        assert [(await desk.post()).json.get("code") for _ in range(10)] == [None] + ["backlog-full"] * 9

    @pytest.mark.parametrize("mode", ["observe", "enforce"])
    async def test_what_a_router_let_through_by_itself_was_taken_from_no_budget(self, desk: Desk, mode: Any) -> None:
        """It is charged when it has its result; else what was never taken would be given back."""
        desk.serve(plan=plan(limits_mode=mode), cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(0.08),)))
        desk.limits.away = True
        assert [(await desk.post(idempotency_key="a")).status for _ in range(2)] == [202] * 2
        envelope = desk.bus.published[0]
        assert envelope.reserved == (Reserved("b:acme:daily:2023-11-14", desk.clock.time() + TO_MIDNIGHT_S, 0.0),)
        await desk.limits.settle(unsettled(envelope, DONE))
        assert (await desk.limits.spent(["b:acme:daily:2023-11-14"]))[0].used == 10_000

    async def test_a_repeat_that_a_router_let_through_by_itself_gives_back_nothing(self, desk: Desk) -> None:
        desk.serve(plan=plan(rate=Rate(per_second=10, burst=20)), cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(0.5),)))
        for _ in range(10):
            await desk.post(idempotency_key="a")  # the first one alone costs something
        assert (await desk.post()).status == 202
        desk.limits.away = True
        while (await desk.post(idempotency_key="a")).status == 202:
            pass
        desk.limits.away = False
        await desk.limiter.aclose()
        desk.clock.advance(1)
        assert (await desk.limits.spent(["b:acme:daily:2023-11-14"]))[0].used >= 20_000

    async def test_the_answer_settles_what_was_set_aside(self, desk: Desk) -> None:
        desk.serve(cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(0.05),)))
        await desk.post()
        [envelope] = desk.bus.published
        await desk.limits.settle(unsettled(envelope, msgspec.structs.replace(DONE, cost_usd=0.04)))
        assert [(await desk.post()).status for _ in range(2)] == [202, 429]


async def test_a_routes_rate_is_a_keys_and_no_other_routes(desk: Desk) -> None:
    slow = Route(path="/", methods=("POST",), rate=Rate(per_second=1, burst=2))
    desk.serve(routes=(slow, Route(path="/{id}", methods=("GET", "POST"))))
    assert (await desk.post()).headers["ratelimit"] == '"route";r=1;t=1'
    await desk.post()
    answer = await desk.post()
    assert (answer.status, answer.json["detail"]) == (429, "The route's rate of this key is used up.")
    assert (await desk.ask("POST", "/orders/1", body=b"{}")).status == 202
    other = {"x-api-key": await desk.give("acme")}
    assert (await desk.ask("POST", "/orders", other, body=b"{}")).status == 202


class TestObserved:
    """A plan whose limits only count."""

    async def test_nothing_is_refused_and_all_is_counted(self, desk: Desk) -> None:
        desk.serve(plan=plan(daily(2), rate=Rate(per_second=1, burst=1), limits_mode="observe"))
        before = {kind: observed(kind) for kind in ("rate", "quota")}
        assert [(await desk.post()).status for _ in range(3)] == [202] * 3
        assert observed("rate") - before["rate"] == 2
        assert (await desk.post()).headers["ratelimit"].startswith('"plan";r=0')

    async def test_what_the_org_may_ask_is_enforced(self, desk: Desk) -> None:
        desk.serve(plan=plan(daily(1), limits_mode="observe"))
        await give(desk, OrgTerms(quotas=(OrgQuota(name="daily", per="day", requests=3),)))
        before = observed("quota")
        assert [(await desk.post()).status for _ in range(5)] == [202] * 3 + [429] * 2
        assert observed("quota") - before == 2

    async def test_a_budget_of_the_org_is_enforced_and_not_what_clients_read_of(self, desk: Desk) -> None:
        desk.serve(plan=plan(daily(1), limits_mode="observe"), cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(0.03),)))
        answers = [await desk.post() for _ in range(4)]
        assert [answer.status for answer in answers] == [202] * 3 + [429]
        assert [answer.headers["ratelimit"].split('"')[1] for answer in answers] == ["daily"] * 3 + ["budget.daily"]

    @pytest.mark.parametrize("mode", ["observe", "enforce"])
    async def test_alone_a_router_lets_a_share_of_a_budget_through(self, desk: Desk, mode: Any) -> None:
        desk.serve(plan=plan(limits_mode=mode), cost=CENT)
        await give(desk, OrgTerms(budgets=(budget(0.08),)))
        desk.limits.away = True
        answers = [await desk.post() for _ in range(3)]
        assert [answer.status for answer in answers] == [202, 202, 429]
        assert answers[0].headers["ratelimit"].startswith('"plan"')

    async def test_a_store_that_is_away_refuses_nothing(self, desk: Desk) -> None:
        desk.serve(plan=plan(daily(1), limits_mode="observe", when_limits_are_away="closed"))
        desk.limits.away = True
        assert [(await desk.post()).status for _ in range(3)] == [202] * 3


def observed(kind: str) -> float:
    return metrics.REGISTRY.get_sample_value("apx_limits_observed_total", {"product": "orders", "limit": kind}) or 0.0
