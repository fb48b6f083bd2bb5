"""What the limits of a plan or an org must keep among each other: none that another one makes pointless."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from itertools import combinations, pairwise
from zoneinfo import ZoneInfo, available_timezones

from apx.catalog.findings import Findings
from apx.catalog.mistakes import Path, did_you_mean, show
from apx.catalog.model import Budget, OrgQuota, OrgSpec, PlanSpec, Quota, Rate

RESERVED_LEVELS = ("plan", "route", "key", "org")
"""What the rates are called where clients read of them."""
_WIDTH = {"key": 0, "org": 1}
_LENGTH = {"hour": 0, "day": 1, "month": 2}


def check_plan_limits(findings: Findings, spec: PlanSpec) -> None:
    """Note the mistakes of a plan's rates and quotas."""
    if spec.org_rate is not None:
        _check_org_rate(findings, spec.rate, spec.org_rate)
    for at, quota in enumerate(spec.quotas):
        if quota.name in RESERVED_LEVELS:
            message = f"'{quota.name}' is what clients read of a rate: choose another name"
            findings.add(("spec", "quotas", at, "name"), "level-reserved", message)
        _check_burst(findings, at, quota, "rate", spec.rate)
        if quota.of == "org":
            _check_burst(findings, at, quota, "org_rate", spec.org_rate)
    _check_quotas(findings, spec.quotas)


def check_org_limits(findings: Findings, spec: OrgSpec) -> None:
    """Note the mistakes of an org's time zone, networks and limits."""
    check_timezone(findings, ("spec", "timezone"), spec.timezone)
    for at, network in enumerate(spec.allowlist):
        _check_network(findings, ("spec", "allowlist", at), network)
    for at, quota in enumerate(spec.quotas):
        _check_burst(findings, at, quota, "rate", spec.rate)
    _check_quotas(findings, spec.quotas)
    check_names(findings, [budget.name for budget in spec.budgets], "budgets")
    for at, budget in enumerate(spec.budgets):
        _check_marks(findings, at, budget)
        for number, product in enumerate(budget.products):
            if product not in spec.entitlements:
                message = f"the org may not use '{product}'{did_you_mean(product, spec.entitlements)}"
                findings.add(("spec", "budgets", at, "products", number), "product-not-entitled", message)
    for (at, one), (other_at, other) in combinations(enumerate(spec.budgets), 2):
        _check_budgets(findings, (at, one), (other_at, other))


def _check_marks(findings: Findings, at: int, budget: Budget) -> None:
    for number, (before, mark) in enumerate(pairwise(budget.marks), 1):
        path: Path = ("spec", "budgets", at, "marks", number)
        if mark.percent < before.percent or mark == before:
            message = f"{mark.percent:g} does not grow from marks[{number - 1}] {before.percent:g}: put them in order"
            findings.add((*path, "percent"), "mark-not-growing", message)
        elif before.does == "stop":
            message = f"marks[{number - 1}] stops at {before.percent:g} %, and this could never be passed: remove it"
            findings.add((*path, "percent"), "mark-after-stop", message)


def _check_budgets(findings: Findings, one: tuple[int, Budget], other: tuple[int, Budget]) -> None:
    """Hold two budgets of which one is within the other: shorter or as long, for some of its products."""
    (at, within), (around_at, around) = (one, other) if _is_in_budget(one[1], other[1]) else (other, one)
    if _is_in_budget(within, around) and around.usd < within.usd:
        message = (
            f"{around.usd:g} of '{around.name}' (each {around.per}) is under budgets[{at}] '{within.name}' "
            f"(each {within.per}), whose {within.usd:g} could never be used: raise it"
        )
        findings.add(("spec", "budgets", around_at, "usd"), "budget-under-budget", message)


def _is_in_budget(one: Budget, other: Budget) -> bool:
    some = not other.products or (bool(one.products) and set(one.products) <= set(other.products))
    return some and _LENGTH[one.per] <= _LENGTH[other.per]


def check_timezone(findings: Findings, path: Path, name: str) -> None:
    """Note a name that is no time zone's."""
    if not is_timezone(name):
        message = f"'{name}' is no time zone{did_you_mean(name, available_timezones())}"
        findings.add(path, "timezone-unknown", message)


def is_timezone(name: str) -> bool:
    """Tell whether a time zone has this name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a name can lead to a folder of the system's zones
        return False
    return True


def _check_network(findings: Findings, path: Path, network: str) -> None:
    way_out = "a network is written as 203.0.113.0/24"
    try:
        ip_network(network)
    except ValueError as error:
        findings.add(path, "network-invalid", f"{show(network)} is no network ({str(error)[:120]}): {way_out}")
    else:
        if "%" in network:
            message = f"{show(network)} has a zone, which means something else on each machine: {way_out}"
            findings.add(path, "network-invalid", message)


def _check_burst(findings: Findings, at: int, quota: Quota | OrgQuota, field: str, rate: Rate | None) -> None:
    if rate is not None and quota.requests < rate.burst:
        message = f"{quota.requests} is under {field}.burst {rate.burst}, which could never be used: raise it"
        findings.add(("spec", "quotas", at, "requests"), "quota-under-burst", message)


def _check_quotas(findings: Findings, quotas: Sequence[Quota | OrgQuota]) -> None:
    check_names(findings, [quota.name for quota in quotas], "quotas")
    for (at, one), (other_at, other) in combinations(enumerate(quotas), 2):
        _check_pair(findings, (at, one), (other_at, other))


def check_names(findings: Findings, names: Sequence[str], field: str) -> None:
    """Note names that clients could not tell apart."""
    for at, name in enumerate(names):
        if name in names[:at]:
            message = f"'{name}' is the name of {field}[{names.index(name)}] too: choose another name"
            findings.add(("spec", field, at, "name"), "level-twice", message)


def _check_org_rate(findings: Findings, rate: Rate, org_rate: Rate) -> None:
    for field in ("per_second", "burst"):
        one, all_keys = getattr(rate, field), getattr(org_rate, field)
        if all_keys < one:
            message = f"{all_keys:g} is under rate.{field} {one:g}, which no key could use: raise it"
            findings.add(("spec", "org_rate", field), "org-rate-under-rate", message)


def _check_pair(findings: Findings, one: tuple[int, Quota | OrgQuota], other: tuple[int, Quota | OrgQuota]) -> None:
    """Hold two quotas of which one is within the other: shorter or as long, of as many keys or fewer."""
    (at, within), (around_at, around) = (one, other) if _is_within(one[1], other[1]) else (other, one)
    if not _is_within(within, around):
        return
    if _is_within(around, within):
        message = f"'{around.name}' counts what quotas[{at}] '{within.name}' counts: remove one of them"
        findings.add(("spec", "quotas", around_at), "quota-twice", message)
    elif around.requests < within.requests:
        message = (
            f"{around.requests} of '{around.name}' (each {around.per}, each {_of(around)}) is under quotas[{at}] "
            f"'{within.name}' (each {within.per}, each {_of(within)}), whose {within.requests} could never be used: "
            "raise it"
        )
        findings.add(("spec", "quotas", around_at, "requests"), "quota-under-quota", message)


def _is_within(one: Quota | OrgQuota, other: Quota | OrgQuota) -> bool:
    return _WIDTH[_of(one)] <= _WIDTH[_of(other)] and _LENGTH[one.per] <= _LENGTH[other.per]


def _of(quota: Quota | OrgQuota) -> str:
    return quota.of if isinstance(quota, Quota) else "org"
