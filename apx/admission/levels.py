"""Which limits a request falls under, the narrowest first; worked out once for a key and a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import msgspec

from apx.admission.keys import KeyRecord
from apx.admission.orgs import OrgTerms
from apx.catalog.model import Budget, Per, PlanSpec, Rate, Route
from apx.limits.budgets import bucket_of, left_at, window_of
from apx.limits.leases import Level
from apx.limits.windows import Span, span_of

_MOST_KEPT = 10_000
_NO_END = float("inf")
_ALL_KEYS = "all keys of the org"
_KEY, _TOTAL = "key", "org.rate"
"""The rates over all products: a key's own, and its org's."""

SpanOf = Callable[[Per], Span]
Left = Callable[[str], float]
"""Tells what a bucket was last known to have left."""


class _Throttle(msgspec.Struct, frozen=True):
    bucket: str
    begins_at: float
    """What is left of the budget then."""
    share: float
    """Of the rates that goes on."""
    total: bool
    """The budget is of all products, and slows the rate over all of them too."""


class _Kept(msgspec.Struct, frozen=True):
    key: KeyRecord
    terms: OrgTerms
    begins_s: float
    ends_s: float
    levels: tuple[Level, ...]
    throttles: tuple[_Throttle, ...]
    slowed: dict[tuple[float, float], tuple[Level, ...]]


class Levels:
    """The limits of one release of a product."""

    def __init__(self, product: str, plans: Mapping[str, PlanSpec]) -> None:
        self._product = product
        self._plans = plans
        self._kept: dict[str | tuple[str, Route], _Kept] = {}

    def of(self, key: KeyRecord, route: Route, terms: OrgTerms, now_s: float, left: Left) -> tuple[Level, ...]:
        """Return what a key's requests to a route fall under now: by its plan, and by its org's terms."""
        name = key.id if route.rate is None else (key.id, route)
        kept = self._kept.get(name)
        if kept is None or not (kept.key is key and kept.terms is terms and kept.begins_s <= now_s < kept.ends_s):
            kept = self._made(key, route, terms, now_s)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[name] = kept
        return _throttled(kept, left) if kept.throttles else kept.levels

    def _made(self, key: KeyRecord, route: Route, terms: OrgTerms, now_s: float) -> _Kept:
        spans: list[Span] = []

        def span_of_now(per: Per) -> Span:
            spans.append(span_of(per, terms.timezone, now_s))
            return spans[-1]

        plan_name = key.plans[self._product]
        budgets = [
            (one, span_of_now(one.per)) for one in terms.budgets if not one.products or self._product in one.products
        ]
        levels = (
            *self._of_plan(key, plan_name, route, span_of_now),
            *_of_key(key, span_of_now),
            *_of_org(key.org, terms, span_of_now),
            *(_of_budget(key.org, budget, span) for budget, span in budgets),
        )
        return _Kept(
            key,
            terms,
            max((span.begins_s for span in spans), default=-_NO_END),
            min((span.ends_s for span in spans), default=_NO_END),
            levels,
            tuple(one for budget, span in budgets for one in _throttles(key.org, budget, span)),
            {},
        )

    def _of_plan(self, key: KeyRecord, plan_name: str, route: Route, span_of_now: SpanOf) -> Iterator[Level]:
        plan, product = self._plans[plan_name], self._product
        observed = plan.limits_mode == "observe"
        yield Level(
            "plan", f"k:{product}:{key.counted_as}", plan.rate, "The plan's rate of this key", "rate", observed=observed
        )
        if plan.org_rate is not None:
            said, bucket = f"The plan's rate of {_ALL_KEYS}", f"o:{product}:{key.org}:{plan_name}"
            yield Level("org", bucket, plan.org_rate, said, "rate", observed=observed)
        for quota in plan.quotas:
            span, of_key = span_of_now(quota.per), quota.of == "key"
            whose = f"k:{key.counted_as}" if of_key else f"o:{key.org}:{plan_name}"
            said = f"The plan's quota '{quota.name}' of {'this key' if of_key else _ALL_KEYS} for the {quota.per}"
            bucket = f"q:{product}:{quota.name}:{whose}:{span.label}"
            yield Level(quota.name, bucket, span.of(quota.requests), said, "quota", observed=observed)
        if route.rate is not None:
            bucket = f"r:{product}:{key.counted_as}:{','.join(route.methods)}:{route.path}"
            yield Level("route", bucket, route.rate, "The route's rate of this key")


def _of_key(key: KeyRecord, span_of_now: SpanOf) -> Iterator[Level]:
    """Yield what a key has of its own, for all its products together."""
    if key.rate is not None:
        yield Level(_KEY, f"key:{key.counted_as}", _same(key.rate), "This key's own rate")
    for per, requests in key.quotas.items():
        span = span_of_now(per)
        bucket = f"key:{key.counted_as}:{per}:{span.label}"
        yield Level(f"{_KEY}.{per}", bucket, span.of(requests), f"This key's own quota for the {per}", "quota")


@lru_cache(maxsize=_MOST_KEPT)
def _same(rate: Rate) -> Rate:
    """Return one object for all equal rates: a key and the one that it replaces share a bucket."""
    return rate


def _of_org(org: str, terms: OrgTerms, span_of_now: SpanOf) -> Iterator[Level]:
    """Yield what an org has for all products together."""
    if terms.rate is not None:
        yield Level(_TOTAL, f"t:{org}", terms.rate, "The org's rate over all products")
    for quota in terms.quotas:
        span = span_of_now(quota.per)
        said = f"The org's quota '{quota.name}' over all products for the {quota.per}"
        yield Level(f"org.{quota.name}", f"t:{org}:{quota.name}:{span.label}", span.of(quota.requests), said, "quota")


def _of_budget(org: str, budget: Budget, span: Span) -> Level:
    said = f"The org's budget '{budget.name}' for the {budget.per}"
    return Level(f"budget.{budget.name}", bucket_of(org, budget, span), window_of(budget, span), said, "budget")


def _throttles(org: str, budget: Budget, span: Span) -> Iterator[_Throttle]:
    for mark in budget.marks:
        if mark.does == "throttle":
            begins_at = left_at(budget, mark, window_of(budget, span))
            share = budget.throttle_percent / 100
            yield _Throttle(bucket_of(org, budget, span), begins_at, share, not budget.products)


def _throttled(kept: _Kept, left: Left) -> tuple[Level, ...]:
    """Return the levels with their rates as slow as the budgets that are nearly used up want them."""
    begun = [one for one in kept.throttles if left(one.bucket) <= one.begins_at]
    if not begun:
        return kept.levels
    share, total = min(one.share for one in begun), min((one.share for one in begun if one.total), default=1.0)
    if (share, total) not in kept.slowed:
        kept.slowed[share, total] = tuple(
            _slowed(one, total if one.name in {_KEY, _TOTAL} else share) for one in kept.levels
        )
    return kept.slowed[share, total]


def _slowed(level: Level, share: float) -> Level:
    if not isinstance(level.rate, Rate):
        return level
    rate = Rate(per_second=level.rate.per_second * share, burst=max(1, int(level.rate.burst * share)))
    return msgspec.structs.replace(level, rate=rate)
