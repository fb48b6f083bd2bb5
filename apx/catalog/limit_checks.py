"""What the limits of a plan must keep among each other: none that another one makes pointless."""

from __future__ import annotations

from itertools import combinations

from apx.catalog.findings import Findings
from apx.catalog.mistakes import Path
from apx.catalog.model import PlanSpec, Quota, Rate

RESERVED_LEVELS = ("plan", "org")
"""What the rates are called where clients read of them."""
_WIDTH = {"key": 0, "org": 1}
_LENGTH = {"hour": 0, "day": 1, "month": 2}


def check_plan_limits(findings: Findings, spec: PlanSpec) -> None:
    """Note the mistakes of a plan's rates and quotas."""
    if spec.org_rate is not None:
        _check_org_rate(findings, spec.rate, spec.org_rate)
    check_level_names(findings, [quota.name for quota in spec.quotas], "quotas")
    for at, quota in enumerate(spec.quotas):
        path: Path = ("spec", "quotas", at, "requests")
        for field, rate in (("rate", spec.rate), ("org_rate", spec.org_rate if quota.of == "org" else None)):
            if rate is not None and quota.requests < rate.burst:
                message = f"{quota.requests} is under {field}.burst {rate.burst}, which could never be used: raise it"
                findings.add(path, "quota-under-burst", message)
    for (at, one), (other_at, other) in combinations(enumerate(spec.quotas), 2):
        _check_pair(findings, (at, one), (other_at, other))


def check_level_names(findings: Findings, names: list[str], field: str) -> None:
    """Note names that clients could not tell apart."""
    for at, name in enumerate(names):
        path: Path = ("spec", field, at, "name")
        if name in RESERVED_LEVELS:
            findings.add(path, "level-reserved", f"'{name}' is what clients read of a rate: choose another name")
        elif name in names[:at]:
            message = f"'{name}' is the name of {field}[{names.index(name)}] too: choose another name"
            findings.add(path, "level-twice", message)


def _check_org_rate(findings: Findings, rate: Rate, org_rate: Rate) -> None:
    for field in ("per_second", "burst"):
        one, all_keys = getattr(rate, field), getattr(org_rate, field)
        if all_keys < one:
            message = f"{all_keys:g} is under rate.{field} {one:g}, which no key could use: raise it"
            findings.add(("spec", "org_rate", field), "org-rate-under-rate", message)


def _check_pair(findings: Findings, one: tuple[int, Quota], other: tuple[int, Quota]) -> None:
    """Hold two quotas of which one is within the other: shorter or as long, of as many keys or fewer."""
    (at, within), (around_at, around) = (one, other) if _is_within(one[1], other[1]) else (other, one)
    if not _is_within(within, around):
        return
    if _is_within(around, within):
        message = f"'{around.name}' counts what quotas[{at}] '{within.name}' counts: remove one of them"
        findings.add(("spec", "quotas", around_at), "quota-twice", message)
    elif around.requests < within.requests:
        message = (
            f"{around.requests} of '{around.name}' (each {around.per}, each {around.of}) is under quotas[{at}] "
            f"'{within.name}' (each {within.per}, each {within.of}), whose {within.requests} could never be used: "
            "raise it"
        )
        findings.add(("spec", "quotas", around_at, "requests"), "quota-under-quota", message)


def _is_within(one: Quota, other: Quota) -> bool:
    return _WIDTH[one.of] <= _WIDTH[other.of] and _LENGTH[one.per] <= _LENGTH[other.per]
