"""Which limits a request falls under, the narrowest first; worked out once for a key and a window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from apx.admission.keys import KeyRecord
from apx.catalog.model import PlanSpec, Quota
from apx.limits.leases import Level
from apx.limits.windows import Span, span_of

_MOST_KEPT = 10_000
_NO_END = float("inf")


class _Kept(NamedTuple):
    key: KeyRecord
    plan: PlanSpec
    begins_s: float
    ends_s: float
    levels: tuple[Level, ...]


class Levels:
    """The limits of one product."""

    def __init__(self, product: str) -> None:
        self._product = product
        self._kept: dict[str, _Kept] = {}

    def of(self, key: KeyRecord, plan_name: str, plan: PlanSpec, now_s: float) -> tuple[Level, ...]:
        """Return what a key's requests fall under now."""
        kept = self._kept.get(key.id)
        if kept is not None and kept.key is key and kept.plan is plan and kept.begins_s <= now_s < kept.ends_s:
            return kept.levels
        kept = self._made(key, plan_name, plan, now_s)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[key.id] = kept
        return kept.levels

    def _made(self, key: KeyRecord, plan_name: str, plan: PlanSpec, now_s: float) -> _Kept:
        spans = [span_of(quota.per, "UTC", now_s) for quota in plan.quotas]
        levels = (*self._rates(key, plan_name, plan), *self._quotas(key, plan_name, plan, spans))
        begins_s = max((span.begins_s for span in spans), default=-_NO_END)
        return _Kept(key, plan, begins_s, min((span.ends_s for span in spans), default=_NO_END), levels)

    def _rates(self, key: KeyRecord, plan_name: str, plan: PlanSpec) -> Iterator[Level]:
        yield Level("plan", f"k:{self._product}:{key.id}", plan.rate, "The plan's rate of this key")
        if plan.org_rate is not None:
            bucket = f"o:{self._product}:{key.org}:{plan_name}"
            yield Level("org", bucket, plan.org_rate, "The plan's rate of all keys of the org")

    def _quotas(self, key: KeyRecord, plan_name: str, plan: PlanSpec, spans: list[Span]) -> Iterator[Level]:
        for quota, span in zip(plan.quotas, spans, strict=True):
            whose = f"k:{key.id}" if quota.of == "key" else f"o:{key.org}:{plan_name}"
            bucket = f"q:{self._product}:{quota.name}:{whose}:{span.label}"
            yield Level(quota.name, bucket, span.of(quota.requests), _said(quota), "quota")


def _said(quota: Quota) -> str:
    whose = "this key" if quota.of == "key" else "all keys of the org"
    return f"The plan's quota '{quota.name}' of {whose} for the {quota.per}"
