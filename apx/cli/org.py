"""`apx org`: which orgs there are, whether they may call, and on which terms."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from apx import bootstrap
from apx.admission import orgs
from apx.admission.orgs import NO_TERMS, Applied, KnownOrg, shown_applied, shown_org, terms_of, terms_text
from apx.catalog.load import load_catalog
from apx.cli import member
from apx.cli.output import AsJson, moment, print_json, print_table
from apx.limits.budgets import Standing, shown_budget
from apx.settings import Settings

app = typer.Typer(
    help="Look at orgs, give them their terms and members; suspend and resume them.", no_args_is_help=True
)
app.add_typer(member.app, name="member")

Org = Annotated[str, typer.Argument(help="An org's name.")]
Gitops = Annotated[Path, typer.Option("--gitops", envvar="APX_GITOPS")]
Why = Annotated[str, typer.Option(help="Goes into the audit log.")]


@app.command("list")
def list_orgs(as_json: AsJson = False) -> None:
    """List the orgs that have a key or were suspended once."""
    known = asyncio.run(_listed())
    if as_json:
        return print_json([shown_org(one) for one in known])
    return print_table(["ORG", "STATE", "KEYS", "SINCE", "BY", "WHY"], list(map(_row, known)))


@app.command()
def show(org: Org, as_json: AsJson = False) -> None:
    """Show an org's state."""
    _told(asyncio.run(_found(org)), as_json=as_json)


@app.command()
def suspend(org: Org, why: Why, as_json: AsJson = False) -> None:
    """Refuse every request of an org, within a second; what it had accepted before goes on."""
    _told(asyncio.run(_decided(org, why, suspended=True)), as_json=as_json)


@app.command()
def resume(org: Org, why: Why, as_json: AsJson = False) -> None:
    """Let an org in again."""
    _told(asyncio.run(_decided(org, why, suspended=False)), as_json=as_json)


@app.command("apply")
def apply_tree(gitops: Gitops = Path("gitops"), as_json: AsJson = False) -> None:
    """Let the orgs of a tree have the terms that their files say: time zone, rate, quotas, networks."""
    applied = asyncio.run(_applied(gitops))
    if as_json:
        return print_json(list(map(shown_applied, applied)))
    for one in applied:
        said = f"{terms_text(one.before)} -> {terms_text(one.after)}" if one.changed else "as it was"
        print(f"{one.org}: {said}")
    return None


@app.command()
def budget(org: Org, as_json: AsJson = False) -> None:
    """Show how an org's budgets stand: what is spent, left, and when they are whole again."""
    standings = asyncio.run(_budgets(org))
    if as_json:
        return print_json(list(map(shown_budget, standings)))
    return print_table(
        ["BUDGET", "SPENT_USD", "LIMIT_USD", "LEFT_USD", "RESETS", "PASSED"], list(map(_stands, standings))
    )


def _stands(standing: Standing) -> tuple[str, str, str, str, str, str]:
    amounts = (standing.spent_usd, standing.budget.usd, standing.left_usd)
    spent, limit, left = (f"{amount:.2f}" for amount in amounts)
    passed = ", ".join(f"{mark.percent:g} % {mark.does}" for mark in standing.passed)
    return standing.budget.name, spent, limit, left, moment(standing.span.ends_s), passed


def _told(known: KnownOrg, *, as_json: bool) -> None:
    if as_json:
        return print_json(shown_org(known))
    org, state, keys, at, actor, why = _row(known)
    decided = f" since {at}, by {actor}: {why}" if at else ""
    return print(f"{org} is {state}{decided}; keys: {keys}")


def _row(known: KnownOrg) -> tuple[str, str, int, str, str, str]:
    state = known.state
    at = moment(state.at_ms / 1000) if state.at_ms else ""
    return state.org, "suspended" if state.suspended else "active", known.keys, at, state.actor, state.why


async def _listed() -> list[KnownOrg]:
    async with bootstrap.backends(Settings.load()) as backends:
        return await orgs.known_orgs(backends.orgs, backends.keys)


async def _found(org: str) -> KnownOrg:
    async with bootstrap.backends(Settings.load()) as backends:
        return await orgs.known_org(backends.orgs, backends.keys, org)


async def _applied(gitops: Path) -> list[Applied]:
    catalog = load_catalog(gitops)
    async with bootstrap.backends(Settings.load()) as backends:
        return await orgs.apply_terms(backends.by(bootstrap.person()).orgs, map(terms_of, catalog.orgs.values()))


async def _budgets(org: str) -> list[Standing]:
    async with bootstrap.backends(Settings.load()) as backends:
        terms = (await orgs.known_org(backends.orgs, backends.keys, org)).state.terms or NO_TERMS
        return await orgs.budgets_of(backends.limits, org, terms, bootstrap.CLOCK)


async def _decided(org: str, why: str, *, suspended: bool) -> KnownOrg:
    decide, by = orgs.suspend if suspended else orgs.resume, bootstrap.person()
    async with bootstrap.backends(Settings.load()) as backends:
        states = backends.by(by).orgs
        return await decide(states, backends.keys, org, actor=by.actor, why=why, clock=bootstrap.CLOCK)
