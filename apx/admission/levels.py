"""Which limits a request falls under, the narrowest first; worked out once for a key and a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from apx.admission.keys import KeyRecord
from apx.admission.orgs import OrgTerms
from apx.catalog.model import Per, PlanSpec
from apx.limits.leases import Level
from apx.limits.windows import Span, span_of

_MOST_KEPT = 10_000
_NO_END = float("inf")
_ALL_KEYS = "all keys of the org"


class _Kept(NamedTuple):
    key: KeyRecord
    plan: PlanSpec
    terms: OrgTerms
    begins_s: float
    ends_s: float
    levels: tuple[Level, ...]


class Levels:
    """The limits of one product."""

    def __init__(self, product: str) -> None:
        self._product = product
        self._kept: dict[str, _Kept] = {}

    def of(self, key: KeyRecord, plan_name: str, plan: PlanSpec, terms: OrgTerms, now_s: float) -> tuple[Level, ...]:
        """Return what a key's requests fall under now: by its plan, and by its org's terms."""
        kept = self._kept.get(key.id)
        if (
            kept is not None
            and kept.key is key
            and kept.plan is plan
            and kept.terms is terms
            and kept.begins_s <= now_s < kept.ends_s
        ):
            return kept.levels
        kept = self._made(key, plan_name, plan, terms, now_s)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[key.id] = kept
        return kept.levels

    def _made(self, key: KeyRecord, plan_name: str, plan: PlanSpec, terms: OrgTerms, now_s: float) -> _Kept:
        def span(per: Per) -> Span:
            spans.append(span_of(per, terms.timezone, now_s))
            return spans[-1]

        spans: list[Span] = []
        levels = (
            *self._rates(key, plan_name, plan),
            *self._quotas(key, plan_name, plan, span),
            *_of_org(key.org, terms, span),
        )
        begins_s = max((span.begins_s for span in spans), default=-_NO_END)
        return _Kept(key, plan, terms, begins_s, min((span.ends_s for span in spans), default=_NO_END), levels)

    def _rates(self, key: KeyRecord, plan_name: str, plan: PlanSpec) -> Iterator[Level]:
        yield Level("plan", f"k:{self._product}:{key.id}", plan.rate, "The plan's rate of this key")
        if plan.org_rate is not None:
            bucket = f"o:{self._product}:{key.org}:{plan_name}"
            yield Level("org", bucket, plan.org_rate, "The plan's rate of all keys of the org")

    def _quotas(
        self, key: KeyRecord, plan_name: str, plan: PlanSpec, span_of_now: Callable[[Per], Span]
    ) -> Iterator[Level]:
        for quota in plan.quotas:
            span, of_key = span_of_now(quota.per), quota.of == "key"
            whose = f"k:{key.id}" if of_key else f"o:{key.org}:{plan_name}"
            said = f"The plan's quota '{quota.name}' of {'this key' if of_key else _ALL_KEYS} for the {quota.per}"
            bucket = f"q:{self._product}:{quota.name}:{whose}:{span.label}"
            yield Level(quota.name, bucket, span.of(quota.requests), said, "quota")


def _of_org(org: str, terms: OrgTerms, span_of_now: Callable[[Per], Span]) -> Iterator[Level]:
    """Yield what an org has for all products together."""
    if terms.rate is not None:
        yield Level("org.rate", f"t:{org}", terms.rate, "The org's rate over all products")
    for quota in terms.quotas:
        span = span_of_now(quota.per)
        said = f"The org's quota '{quota.name}' over all products for the {quota.per}"
        bucket = f"t:{org}:{quota.name}:{span.label}"
        yield Level(f"org.{quota.name}", bucket, span.of(quota.requests), said, "quota")
