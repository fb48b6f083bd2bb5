"""Quotas at the router, as clients see them. The desk's clock begins on 2023-11-14 at 22:13:20 UTC."""

from __future__ import annotations

from typing import Any

from apx.admission.orgs import OrgTerms
from apx.catalog.model import OrgQuota, PlanSpec, Quota, Rate
from tests.unit.router.desk import Desk

RATE = Rate(per_second=100, burst=100)
TO_MIDNIGHT_S = 6_400


def plan(*quotas: Quota, **changes: Any) -> PlanSpec:
    return PlanSpec(title="Free", rate=RATE, quotas=quotas, **changes)


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
