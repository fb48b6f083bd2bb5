"""What a day costs: quantities times list prices, by component; what dominates, what moves it, what would lower it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import fsum

import msgspec

from apx.errors import NotFound
from apx.usage import per_request as per
from apx.usage.prices import Price, Prices, list_prices
from apx.usage.profile import Profile, checked
from apx.usage.quantities import Group, Kind, Line, lines

BUDGET_USD = 5.0
"""What a day of the default profile is meant to cost, of services that are paid by use."""


class Cost(msgspec.Struct, frozen=True):
    """One line of the bill."""

    line: Line
    usd_per_day: float
    unit: str
    usd_per_unit: float
    """The mean over the profile's regions, among which traffic is even."""
    assumed: bool
    """Whether the price was read nowhere for one of them."""


class Component(msgspec.Struct, frozen=True):
    """All lines of one service and kind."""

    name: str
    kind: Kind
    usd_per_day: float
    costs: tuple[Cost, ...]


class Sensitivity(msgspec.Struct, frozen=True):
    """What doubling one number of the profile adds to a day, or takes from it."""

    field: str
    value: float
    doubled: float
    usd_per_day: float


class Lever(msgspec.Struct, frozen=True):
    """A change that lowers the bill; `usd_per_day` is what a day of usage-priced services costs after it alone."""

    name: str
    says: str
    usd_per_day: float


class Estimate(msgspec.Struct, frozen=True):
    """A day of a profile, in USD."""

    profile: Profile
    prices_compiled: str
    components: tuple[Component, ...]
    """Usage-priced first, the largest first."""
    usage_usd_per_day: float
    fixed_usd_per_day: float
    budget_usd_per_day: float
    sensitivities: tuple[Sensitivity, ...]
    levers: tuple[Lever, ...]
    with_all_levers_usd_per_day: float

    @property
    def total_usd_per_day(self) -> float:
        """Return both kinds together."""
        return self.usage_usd_per_day + self.fixed_usd_per_day

    @property
    def per_million_usd(self) -> float:
        """Return what a million requests cost, of what is paid by use; 0 without any."""
        requests = self.profile.requests_per_day
        return self.usage_usd_per_day / requests * 1e6 if requests else 0.0

    def of_group(self, group: Group) -> float:
        """Return what a day of one group costs: of keeping requests, of the edge, of seeing, of calling backends."""
        costs = (cost for component in self.components for cost in component.costs)
        return fsum(cost.usd_per_day for cost in costs if cost.line.group == group)

    def component(self, name: str) -> tuple[Component, ...]:
        """Return a component's parts, by its name in any case. Raises `NotFound`."""
        found = tuple(one for one in self.components if one.name.lower() == name.lower())
        if not found:
            known = ", ".join(sorted({one.name for one in self.components}))
            raise NotFound(f"{name!r} is no component; there are {known}")
        return found


_Change = Callable[[Profile], Profile]
_LEVERS: Sequence[tuple[str, str, _Change]] = (
    (
        "wait and collect in one call",
        "clients ask for `/result` with `Prefer: wait` instead of polling first",
        lambda profile: msgspec.structs.replace(profile, polls_per_request=min(profile.polls_per_request, 1.0)),
    ),
    (
        "let large results end with their requests",
        (
            "a body's custom time says when its result expires, and the bucket keeps no old versions of bodies "
            "(apx/backends/gcp/blobs.py, stacks/artifacts.py)"
        ),
        lambda profile: msgspec.structs.replace(
            profile, large_stored_days=min(profile.large_stored_days, profile.kept_days + 1 + per.SOFT_DELETED_DAYS)
        ),
    ),
)
_NOT_DOUBLED = frozenset({"says", "regions"})
_MOST = {"kept_days": 30.0, "attempts_per_request": 100.0, "peak_factor": 1000.0}


def estimate(profile: Profile, prices: Prices | None = None) -> Estimate:
    """Return what a day of the profile costs. Raises `Misconfigured` for regions without prices."""
    listed = prices or list_prices()
    checked(profile)
    usage, fixed = _components(profile, listed, "usage"), _components(profile, listed, "fixed")
    total = _sum(usage)
    everything = profile
    for _, _, change in _LEVERS:
        everything = change(everything)
    return Estimate(
        profile=profile,
        prices_compiled=listed.compiled.isoformat(),
        components=(*usage, *fixed),
        usage_usd_per_day=total,
        fixed_usd_per_day=_sum(fixed),
        budget_usd_per_day=BUDGET_USD,
        sensitivities=tuple(_sensitivities(profile, listed, total)),
        levers=tuple(Lever(name, says, usage_usd(change(profile), listed)) for name, says, change in _LEVERS),
        with_all_levers_usd_per_day=usage_usd(everything, listed),
    )


def usage_usd(profile: Profile, prices: Prices) -> float:
    """Return what a day of usage-priced services costs."""
    return _sum(_components(profile, prices, "usage"))


def assumed(costs: Iterable[Cost], prices: Prices, regions: tuple[str, ...]) -> list[Price]:
    """Return the prices of some costs that were not read anywhere."""
    names = dict.fromkeys(cost.line.price for cost in costs if cost.assumed)
    return [price for name in names for price in dict.fromkeys(prices.of(name, regions)) if price.assumed]


def _components(profile: Profile, prices: Prices, kind: Kind) -> list[Component]:
    costs: dict[str, list[Cost]] = {}
    for line in lines(profile):
        if line.kind == kind:
            costs.setdefault(line.component, []).append(_cost(line, prices, profile.regions))
    components = [
        Component(name, kind, fsum(one.usd_per_day for one in each), tuple(each)) for name, each in costs.items()
    ]
    return sorted(components, key=lambda one: (-one.usd_per_day, one.name))


def _cost(line: Line, prices: Prices, regions: tuple[str, ...]) -> Cost:
    each = prices.of(line.price, regions)
    usd = fsum(price.usd for price in each) / len(each)
    return Cost(line, line.quantity * usd, each[0].unit, usd, any(price.assumed for price in each))


def _sum(components: Iterable[Component]) -> float:
    return fsum(component.usd_per_day for component in components)


def _sensitivities(profile: Profile, prices: Prices, before: float) -> list[Sensitivity]:
    """Return every number's effect, the largest first; a share is doubled to all at most."""
    found = []
    for field in Profile.__struct_fields__:
        value = 0.0 if field in _NOT_DOUBLED else float(getattr(profile, field))
        most = 1.0 if field.endswith("_share") else _MOST.get(field, 1e12)
        if doubled := min(2 * value, most):
            changed = msgspec.structs.replace(profile, **{field: doubled})
            found.append(Sensitivity(field, value, doubled, usage_usd(changed, prices) - before))
    return sorted(found, key=lambda one: (-abs(one.usd_per_day), one.field))
