"""`apx cost estimate`: what a day on Google Cloud costs by list prices, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
import typer

from apx.cli.output import AsJson, print_json, print_table
from apx.usage.estimate import Component, Estimate, assumed, estimate
from apx.usage.prices import list_prices
from apx.usage.profile import DEFAULT, Profile, read_profile

app = typer.Typer(help="What an installation costs.", no_args_is_help=True)

_MOST_SENSITIVITIES = 8


@app.callback()
def _cost() -> None:
    """Make `estimate` a command of its own: typer runs a lone command without its name."""


@app.command("estimate")
def estimate_cost(
    requests_per_day: Annotated[float | None, typer.Option(min=0, max=1e12, help="Instead of the profile's.")] = None,
    profile: Annotated[str, typer.Option(help="default, streaming, sync-proxy, heavy-results, or a file.")] = DEFAULT,
    region: Annotated[
        list[str] | None, typer.Option(help="Instead of the profile's; again for each further one.")
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="COMPONENT", help="Show each quantity of one component, and its price.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate what a day of some traffic costs on Google Cloud, from public list prices. Calls nobody."""
    wanted = read_profile(profile)
    if requests_per_day is not None:
        wanted = msgspec.structs.replace(wanted, requests_per_day=requests_per_day)
    if region:
        wanted = msgspec.structs.replace(wanted, regions=tuple(region))
    found = estimate(wanted)
    parts = found.component(explain) if explain is not None else ()
    if as_json:
        return print_json(parts or found)
    return _explain(parts, found) if parts else _show(found)


def _show(found: Estimate) -> None:
    print(f"{found.profile.says or 'A profile'}: {found.profile.requests_per_day:,.0f} requests a day")
    print(f"{', '.join(found.profile.regions)}; list prices of {found.prices_compiled}, in USD a day\n")
    for kind, total in (("usage", found.usage_usd_per_day), ("fixed", found.fixed_usd_per_day)):
        components = [one for one in found.components if one.kind == kind]
        print("Paid by use" if kind == "usage" else "Paid by the hour, whatever comes")
        print_table(["COMPONENT", "USD/DAY", "SHARE", "MOST OF IT", "PRICES"], _rows(components, total))
        print()
    _show_budget(found)
    _show_moves(found)
    _show_assumptions(found)


def _rows(components: Sequence[Component], total: float) -> list[tuple[str, ...]]:
    rows = [_row(one, total) for one in components]
    return [*rows, ("total", f"{total:.2f}", "100 %" if total else "", "", "")]


def _row(one: Component, total: float) -> tuple[str, ...]:
    most = max(one.costs, key=lambda cost: cost.usd_per_day)
    share = f"{one.usd_per_day / total:.0%}".replace("%", " %") if total else ""
    read = "some assumed" if any(cost.assumed for cost in one.costs) else "read"
    return one.name, f"{one.usd_per_day:.2f}", share, most.line.item if one.usd_per_day else "", read


def _show_budget(found: Estimate) -> None:
    total, budget = found.usage_usd_per_day, found.budget_usd_per_day
    verdict = "within" if total <= budget else "OVER"
    print(f"Paid by use: {total:.2f}, {verdict} {budget:.2f} a day; {found.per_million_usd:.2f} a million requests")
    parts = (
        ("keeping requests", found.of_group("keeping")),
        ("the edge", found.of_group("edge")),
        ("logs and metrics", found.of_group("seeing")),
        ("calling backends", found.of_group("backends")),
    )
    print("  " + ", ".join(f"{name} {usd:.2f}" for name, usd in parts) + "\n")


def _show_moves(found: Estimate) -> None:
    print("What moves it: a number of the profile doubled")
    rows = [
        (one.field, f"{one.value:,.10g}", f"{one.doubled:,.10g}", f"{one.usd_per_day:+.2f}")
        for one in found.sensitivities[:_MOST_SENSITIVITIES]
    ]
    print_table(["NUMBER", "IS", "DOUBLED", "USD/DAY"], rows)
    print("\nWhat would lower it: each alone, then all")
    changes = [(one.name, f"{one.usd_per_day:.2f}") for one in found.levers]
    print_table(["CHANGE", "USD/DAY PAID BY USE"], [*changes, ("all", f"{found.with_all_levers_usd_per_day:.2f}")])
    print()


def _show_assumptions(found: Estimate) -> None:
    print("Assumed of the traffic")
    print_table(["NUMBER", "IS"], list(_numbers(found.profile)))
    costs = [cost for component in found.components for cost in component.costs]
    print("\nAssumed prices, and why")
    prices = assumed(costs, list_prices(), found.profile.regions)
    print_table(["PRICE", "IS", "WHY"], [(one.name, f"{one.usd:g} a {one.unit}", one.why) for one in prices])
    print("\n--explain COMPONENT shows quantities and prices; docs/cost.md tells what is not in it")


def _numbers(profile: Profile) -> Iterable[tuple[str, str]]:
    for field in Profile.__struct_fields__:
        value = getattr(profile, field)
        if field not in {"says", "regions"}:
            yield field, f"{value:,.10g}"


def _explain(parts: Sequence[Component], found: Estimate) -> None:
    for part in parts:
        for cost in part.costs:
            line = cost.line
            print(f"{part.name}, {line.item}: {cost.usd_per_day:.4f} USD a day, {_paid(part)}")
            print(f"  {line.quantity:,.6g} at {cost.usd_per_unit:,.6g} USD a {cost.unit}")
            print(f"  quantity: {line.says}")
            for price in dict.fromkeys(list_prices().of(line.price, found.profile.regions)):
                print(f"  price: {price.usd:g}, {price.sku} ({', '.join(price.regions)}), {price.date}, {price.source}")
                print(f"    {'ASSUMED: ' + price.why if price.assumed else 'read in: ' + price.read}")


def _paid(part: Component) -> str:
    return "paid by use" if part.kind == "usage" else "paid by the hour"
