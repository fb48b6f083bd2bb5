"""`apx audit`: who changed what, and whether the log of it is what was written."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from apx import bootstrap
from apx.audit.checkpoint import Checkpoint
from apx.audit.entry import Entry
from apx.audit.sealing import Sealer
from apx.audit.select import Wanted, newest, oldest
from apx.audit.verify import Report, verify_store
from apx.cli.output import AsJson, json_line, moment, print_json, print_table
from apx.errors import Unsupported
from apx.settings import Settings
from apx.usage.questions import moment as read_moment

app = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)

Since = Annotated[str, typer.Option(help="Only from then on: 2026-11-25, or with a time: 2026-11-25T08:00 (UTC).")]
Product = Annotated[str, typer.Option(help="Only this product's.")]
Org = Annotated[str, typer.Option(help="Only this org's.")]
Actor = Annotated[str, typer.Option(help="Only what this one did.")]
_NOT_SOUND = 2


@app.command("list")
def list_entries(
    *,
    since: Since = "",
    product: Product = "",
    org: Org = "",
    actor: Actor = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List who changed what, from where and why; newest first."""
    entries = asyncio.run(_newest(_wanted(since, product, org, actor), limit))
    if as_json:
        return print_json(entries)
    return print_table(["NO", "AT", "BY", "FROM", "ACTION", "WHAT", "ORG", "PRODUCT", "WHY"], list(map(_row, entries)))


@app.command()
def export(since: Since = "", product: Product = "", org: Org = "", actor: Actor = "") -> None:
    """Print entries as JSON lines, the oldest first."""
    asyncio.run(_export(_wanted(since, product, org, actor)))


@app.command()
def verify(
    checkpoints: Annotated[
        Path | None, typer.Option(help="Checkpoints that were kept elsewhere, as JSON lines.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read the whole log; exit 2 when it is not what was written."""
    report = asyncio.run(_verified(_read(checkpoints) if checkpoints is not None else []))
    if as_json:
        print_json({"sound": report.sound, **msgspec.to_builtins(report)})
    else:
        said = "is what was written" if report.sound else "is NOT what was written"
        print(f"the log {said}: {report.entries} entries, sealed up to {report.sealed}")
        for one in report.findings:
            print(f"{one.number}\t{one.kind}\t{one.detail}")
    if not report.sound:
        raise typer.Exit(_NOT_SOUND)


@app.command()
def checkpoint() -> None:
    """Verify and countersign the log as it is now; print the checkpoint, to be kept elsewhere."""
    sys.stdout.write(json_line(asyncio.run(_sealed())) + "\n")


def _wanted(since: str, product: str, org: str, actor: str) -> Wanted:
    since_ms = int(read_moment(since, what="--since").timestamp() * 1000) if since else 0
    return Wanted(since_ms=since_ms, product=product, orgs=frozenset({org}) if org else None, actor=actor)


def _row(one: Entry) -> tuple[object, ...]:
    at = moment((one.done_ms or one.at_ms) / 1000)
    return one.number, at, one.actor, one.source, one.action, one.subject, one.org, one.product, one.why


def _read(path: Path) -> list[Checkpoint]:
    try:
        return msgspec.json.Decoder(Checkpoint).decode_lines(path.read_bytes())
    except msgspec.MsgspecError as error:
        raise Unsupported(f"{path}: not what `apx audit checkpoint` prints: {error}") from error


async def _newest(wanted: Wanted, limit: int) -> list[Entry]:
    async with bootstrap.backends(Settings.load()) as backends:
        return (await newest(backends.audit, wanted, limit)).entries


async def _export(wanted: Wanted) -> None:
    async with bootstrap.backends(Settings.load()) as backends:
        async for entry in oldest(backends.audit, wanted):
            sys.stdout.write(json_line(entry) + "\n")


async def _verified(outside: list[Checkpoint]) -> Report:
    settings = Settings.load()
    async with bootstrap.backends(settings) as backends:
        return await verify_store(backends.audit, bootstrap.seals(settings), outside)


async def _sealed() -> Checkpoint:
    settings = Settings.load()
    async with bootstrap.backends(settings) as backends:
        return await Sealer(backends.audit, bootstrap.seals(settings)).seal(trusting=True)
