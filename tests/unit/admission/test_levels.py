"""Limits of a request, worked out once and found again. The clock is set by hand."""

from __future__ import annotations

from typing import Any

import pytest

from apx.admission.keys import KeyRecord
from apx.admission.levels import Levels
from apx.admission.orgs import NO_TERMS, OrgTerms
from apx.catalog.model import Budget, Mark, OrgQuota, PlanSpec, Quota, Rate, Route
from apx.limits.leases import Level

RATE = Rate(per_second=10, burst=20)
NOON = 1_700_049_600.0
"""2023-11-15, 12:00 UTC."""
ROUTE = Route(path="/")
ALL = PlanSpec(
    title="All",
    rate=RATE,
    org_rate=RATE,
    quotas=(Quota(name="daily", per="day", requests=50), Quota(name="all", per="month", requests=500, of="org")),
)
TERMS = OrgTerms(
    rate=RATE,
    quotas=(OrgQuota(name="hourly", per="hour", requests=50),),
    budgets=(Budget(name="monthly", usd=5, per="month"), Budget(name="other", usd=5, per="day", products=("other",))),
)


def key(**changes: Any) -> KeyRecord:
    fields: dict[str, Any] = {"id": "k1", "sha256": "0", "org": "acme", "region": "eu", "created_ms": 0}
    return KeyRecord(**{**fields, "plans": {"orders": "all"}, **changes})


KEY = key()


@pytest.fixture
def levels() -> Levels:
    return Levels("orders", {"all": ALL})


def whole(_: str) -> float:
    return float("inf")


def of(levels: Levels, **changes: Any) -> tuple[Level, ...]:
    asked: dict[str, Any] = {"key": KEY, "route": ROUTE, "terms": TERMS, "now_s": NOON, "left": whole} | changes
    return levels.of(asked["key"], asked["route"], asked["terms"], asked["now_s"], asked["left"])


def test_every_level_has_its_own_bucket(levels: Levels) -> None:
    assert [(level.name, level.bucket) for level in of(levels)] == [
        ("plan", "k:orders:k1"),
        ("org", "o:orders:acme:all"),
        ("daily", "q:orders:daily:k:k1:2023-11-15"),
        ("all", "q:orders:all:o:acme:all:2023-11"),
        ("org.rate", "t:acme"),
        ("org.hourly", "t:acme:hourly:2023-11-15T12:00Z"),
        ("budget.monthly", "b:acme:monthly:2023-11"),
    ]


def test_what_a_key_has_of_its_own_stands_between_its_plans_and_its_orgs(levels: Levels) -> None:
    limited = key(rate=Rate(per_second=1, burst=2), quotas={"hour": 5, "day": 9})
    assert [(level.name, level.bucket, level.rate.burst, level.kind) for level in of(levels, key=limited)[4:8]] == [
        ("key", "key:k1", 2, "rate"),
        ("key.hour", "key:k1:hour:2023-11-15T12:00Z", 5, "quota"),
        ("key.day", "key:k1:day:2023-11-15", 9, "quota"),
        ("org.rate", "t:acme", 20, "rate"),
    ]


def test_a_key_has_its_own_limits_once_for_all_products() -> None:
    limited = key(rate=RATE, quotas={"day": 9}, plans={"orders": "all", "files": "all"})
    found = [of(Levels(product, {"all": ALL}), key=limited) for product in ("orders", "files")]
    own, others = ([level for level in one if level.name.startswith("key")] for one in found)
    assert len(own) == 2
    assert own == others


def test_a_rotated_key_goes_on_in_the_buckets_of_the_first_one(levels: Levels) -> None:
    slow = Route(path="/", rate=RATE)
    first = of(levels, key=key(rate=Rate(per_second=1, burst=2), quotas={"day": 9}), route=slow)
    again = key(id="k3", family="k1", rate=Rate(per_second=1, burst=2), quotas={"day": 9})
    assert of(levels, key=again, route=slow) == first
    assert all(one.rate is other.rate for one, other in zip(of(levels, key=again, route=slow), first, strict=True))


def test_a_plan_that_is_observed_lets_a_keys_own_limits_hold() -> None:
    watched = PlanSpec(title="Watched", rate=RATE, limits_mode="observe")
    found = of(Levels("orders", {"all": watched}), key=key(rate=RATE), terms=NO_TERMS)
    assert [(level.name, level.observed) for level in found] == [("plan", True), ("key", False)]


def test_they_are_worked_out_once_in_a_window(levels: Levels) -> None:
    assert of(levels) is of(levels, now_s=NOON + 3599)
    assert of(levels)[5].bucket != of(levels, now_s=NOON + 3600)[5].bucket
    assert of(levels, now_s=NOON - 1)[5].bucket == "t:acme:hourly:2023-11-15T11:00Z"


def test_keys_of_one_org_hold_the_very_same_bounds(levels: Levels) -> None:
    one, other = of(levels), of(levels, key=key(id="k2"))
    shared = [level for level in one if "k1" not in level.bucket]
    assert [level.bucket for level in shared] == [level.bucket for level in other if "k2" not in level.bucket]
    assert all(level.rate is found.rate for level in shared for found in other if found.bucket == level.bucket)


def test_new_terms_and_a_key_that_changed_are_seen_at_once(levels: Levels) -> None:
    of(levels)
    assert [level.name for level in of(levels, terms=NO_TERMS)] == ["plan", "org", "daily", "all"]
    assert of(levels, key=key(org="globex"))[1].bucket == "o:orders:globex:all"


def test_a_route_with_a_rate_has_a_level_of_its_own(levels: Levels) -> None:
    slow = [Route(path="/", methods=(method,), rate=RATE) for method in ("GET", "POST")]
    names = [[level.bucket for level in of(levels, route=route) if level.name == "route"] for route in slow]
    assert names == [["r:orders:k1:GET:/"], ["r:orders:k1:POST:/"]]
    assert of(levels, route=slow[0]) is of(levels, route=slow[0])
    assert "route" not in [level.name for level in of(levels)]


def test_the_smallest_share_of_the_budgets_that_throttle_holds(levels: Levels) -> None:
    marks = (Mark(percent=50, does="throttle"), Mark(percent=100, does="stop"))
    whole_org = Budget(name="a", usd=5, per="day", marks=marks, throttle_percent=50)
    own = Budget(name="b", usd=5, per="day", marks=marks, throttle_percent=10, products=("orders",))
    terms = OrgTerms(rate=RATE, budgets=(whole_org, own))

    def rates(**left: float) -> list[float]:
        found = of(levels, terms=terms, left=lambda bucket: left.get(bucket.split(":")[2], 5e6))
        return [level.rate.per_second for level in found if level.kind == "rate"]

    assert rates() == [10, 10, 10]
    assert rates(a=2.6e6) == [10, 10, 10]
    assert rates(a=2.5e6) == [5, 5, 5]
    assert rates(b=0) == [1, 1, 10]
    assert rates(a=0, b=0) == [1, 1, 5]


def test_a_keys_own_rate_is_throttled_as_the_rate_over_all_products_is(levels: Levels) -> None:
    marks = (Mark(percent=50, does="throttle"), Mark(percent=100, does="stop"))
    terms = OrgTerms(budgets=(Budget(name="a", usd=5, per="day", marks=marks, products=("orders",)),))
    limited = key(rate=RATE)

    def own(terms: OrgTerms) -> list[float]:
        found = of(levels, key=limited, terms=terms, left=lambda _: 0.0)
        return [level.rate.per_second for level in found if level.name == "key"]

    assert own(terms) == [10]  # other products' requests are not slowed by it
    assert own(OrgTerms(budgets=(Budget(name="a", usd=5, per="day", marks=marks),))) == [5]


def test_memory_is_bounded(levels: Levels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.admission.levels._MOST_KEPT", 10)
    for number in range(100):
        of(levels, key=key(id=f"k{number}"))
    assert len(levels._kept) <= 10  # noqa: SLF001 -- nothing else tells
