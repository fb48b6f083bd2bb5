"""`apx rollout` and `apx rollback`: move a product's traffic to a release, or back from it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from apx import bootstrap
from apx.cli.gate import chosen
from apx.cli.output import AsJson, moment, print_json, print_table
from apx.cli.progress import Progress, look, shown
from apx.cli.release import full_digest
from apx.cli.status import Timeout, Watching, show, watched
from apx.errors import NotFound
from apx.release.digest import short
from apx.release.store import Listed
from apx.rollout.actions import Started, Wish, move, shown_state, start
from apx.rollout.actions import rollback as roll_back
from apx.rollout.active import Active, AuditEntry
from apx.rollout.model import Arm, Event
from apx.rollout.objectives import live_budgets
from apx.rollout.testers import HEADER
from apx.settings import Settings

app = typer.Typer(help="Roll releases out beside the stable ones, and judge them.", no_args_is_help=True)

Product = Annotated[str, typer.Argument(help="A product's name.")]
Why = Annotated[str, typer.Option(help="Goes into the history.")]
_REFUSED = 2
_WORDS = {
    "started": "started",
    "waiting": "waits for the rollout before it",
    "under-way": "is under way already",
    "live": "is live already",
    "activated": "is live now: the product's first release",
    "refused": "refused",
}


@app.command("start")
def start_rollouts(
    digests: Annotated[list[str] | None, typer.Argument(metavar="[DIGEST]...", help="Releases to roll out.")] = None,
    *,
    newest: Annotated[
        bool, typer.Option("--newest", help="The newest stored release of each product; so without DIGEST.")
    ] = False,
    commit: Annotated[str, typer.Option(help="What they were built from; else as they say themselves.")] = "",
    why: Why = "",
    force: Annotated[
        bool, typer.Option("--force", help="Despite a freeze, a spent error budget or an earlier abort; needs --why.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Begin to roll releases out; exit 2 when one was refused."""
    if digests and newest:
        raise typer.BadParameter("give digests or --newest, not both")
    started = asyncio.run(_started(Settings.load(), digests or [], commit, why, force=force))
    if as_json:
        print_json(started)
    else:
        for one in started:
            print(_outcome(one))
        if not started:
            print("nothing to start: the newest release of each product is live")
    if any(one.outcome == "refused" for one in started):
        raise typer.Exit(_REFUSED)


@app.command()
def promote(product: Product, why: Why = "", as_json: AsJson = False) -> None:
    """Let the candidate serve everybody now, whatever the judge says."""
    _move(product, "promote", why or "promoted by an operator", as_json=as_json)


@app.command()
def pause(product: Product, why: Why = "", as_json: AsJson = False) -> None:
    """Hold a rollout at its weight; a candidate that fails is still taken back."""
    _move(product, "pause", why or "paused by an operator", as_json=as_json)


@app.command()
def resume(product: Product, why: Why = "", as_json: AsJson = False) -> None:
    """Go on where a rollout was paused."""
    _move(product, "resume", why or "resumed by an operator", as_json=as_json)


@app.command()
def abort(product: Product, why: Why = "", as_json: AsJson = False) -> None:
    """Take the candidate back: the stable release serves everybody."""
    _move(product, "abort", why or "aborted by an operator", as_json=as_json)


@app.command()
def history(
    product: Product,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List who changed what, when and why; newest first."""
    entries = asyncio.run(_history(product, limit))
    if as_json:
        return print_json(entries)
    rows = [(moment(e.at_ms / 1000), e.actor, e.action, e.state, short(e.after), e.rollout, e.why) for e in entries]
    return print_table(["AT", "BY", "ACTION", "STATE", "SERVES", "ROLLOUT", "WHY"], rows)


@app.command("status")
def show_status(
    product: Annotated[str | None, typer.Argument(help="Only this product.")] = None,
    watching: Watching = False,
    timeout_s: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Show rollouts: those under way, of a product also the last one."""
    if watching or timeout_s is not None:
        raise typer.Exit(asyncio.run(watched([product] if product else [], timeout_s, as_json=as_json)))
    looked = asyncio.run(_looked(product))
    if as_json:
        return print_json(list(map(shown, looked)))
    if not looked:
        print("no rollout is under way")
    return show(looked)


@app.command()
def token(
    product: Product,
    arm: Annotated[Arm, typer.Option(help="Which release shall answer.")] = "candidate",
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 30, help="For how long it holds.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Print the header by which a tester chooses an arm; what carries it is not judged."""
    expires_s = int(bootstrap.CLOCK.time() + hours * 3600)
    value = bootstrap.arm_tokens(Settings.load()).mint(product, arm, expires_s)
    if as_json:
        return print_json({"header": HEADER, "value": value, "expires_s": expires_s})
    return print(f"{HEADER}: {value}")


def rollback(
    product: Product,
    to: Annotated[str | None, typer.Option(metavar="RELEASE", help="A digest, or its first hex digits.")] = None,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Serve an earlier release at once: the stable one during a rollout, else the one before it."""
    _told(asyncio.run(_rolled_back(Settings.load(), product, to, why)), as_json=as_json)


def _move(product: str, event: Event, why: str, *, as_json: bool) -> None:
    async def moving() -> Active:
        async with bootstrap.backends(Settings.load()) as backends:
            by = bootstrap.person()
            return await move(backends.rollouts, product, event, actor=by.actor, source=by.source, reason=why)

    _told(asyncio.run(moving()), as_json=as_json)


def _told(active: Active, *, as_json: bool) -> None:
    if as_json:
        return print_json(active)
    rollout = active.rollout
    state = f"; the rollout {rollout.id} is {shown_state(rollout)}" if rollout is not None else ""
    weight = f" at {rollout.weight_percent:g} %" if rollout is not None and rollout.weight_percent else ""
    return print(f"{active.product}: {short(active.stable)} is stable{state}{weight}")


def _outcome(one: Started) -> str:
    said = f"{one.product} {short(one.digest)} {_WORDS[one.outcome]}"
    said = f"{said}: {one.reason}" if one.reason else f"{said} ({one.rollout})" if one.rollout else said
    return f"{said}\n  {one.note}" if one.note else said


async def _started(settings: Settings, digests: list[str], commit: str, why: str, *, force: bool) -> list[Started]:
    listed = [one async for one in bootstrap.release_store(settings).list_releases()]
    commits = {one.digest: one.annotations.get("commit", "") for one in listed}
    async with bootstrap.backends(settings) as backends:
        products = (await backends.rollouts.read()).products
        wanted = [await full_digest(settings, digest) for digest in digests] or _newest(listed, products)
        wishes = [Wish(digest=digest, commit=commit or commits.get(digest, "")) for digest in dict.fromkeys(wanted)]
        loader = bootstrap.loader(settings)
        asked = {one.product for one in listed if one.digest in wanted}
        budgets = {} if force else await live_budgets(backends.rollouts, backends.objectives, loader, asked)
        by = bootstrap.person()
        return await start(
            backends.rollouts,
            loader,
            wishes,
            actor=by.actor,
            source=by.source,
            why=why,
            force=force,
            budgets=budgets,
        )


def _newest(listed: list[Listed], products: dict[str, Active]) -> list[str]:
    """Return the newest release of each product, in the order of their names, without those that are live."""
    if not listed:
        raise NotFound("no release is stored; `apx release build` makes them")
    newest: dict[str, str] = {}
    for one in listed:
        newest.setdefault(one.product, one.digest)
    live = {active.stable for active in products.values() if active.candidate is None}
    return [newest[product] for product in sorted(newest) if newest[product] not in live]


async def _history(product: str, limit: int) -> list[AuditEntry]:
    async with bootstrap.backends(Settings.load()) as backends:
        entries = await backends.rollouts.history(product, limit)
        if not entries:
            chosen(await backends.rollouts.read(), [product])
        return entries


async def _looked(product: str | None) -> list[Progress]:
    async with bootstrap.backends(Settings.load()) as backends:
        wanted = chosen(await backends.rollouts.read(), [product] if product is not None else [])
        told = [one for one in wanted if one.candidate or one.waiting or (product is not None and one.rollout)]
        return await look(backends, told) if told else []


async def _rolled_back(settings: Settings, product: str, to: str | None, why: str) -> Active:
    digest = None if to is None else await full_digest(settings, to)
    async with bootstrap.backends(settings) as backends:
        by, loader = bootstrap.person(), bootstrap.loader(settings)
        return await roll_back(backends.rollouts, loader, product, to=digest, actor=by.actor, source=by.source, why=why)
