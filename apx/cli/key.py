"""`apx key`: create, list, revoke."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from apx import bootstrap
from apx.admission.issue import issue_key
from apx.admission.keys import KeyRecord, shown_key
from apx.catalog.load import load_catalog
from apx.cli.output import AsJson, moment, print_json, print_table
from apx.errors import NotFound
from apx.settings import Settings

app = typer.Typer(help="Give out and take back API keys.", no_args_is_help=True)


@app.command()
def create(
    org: Annotated[str, typer.Option(help="Whose key it is.")],
    environment: Annotated[str, typer.Option(help="Becomes part of the key's prefix.")] = "local",
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    gitops: Annotated[Path, typer.Option("--gitops", envvar="APX_GITOPS")] = Path("gitops"),
    as_json: AsJson = False,
) -> None:
    """Make a key with the org's entitlements, and show it this once."""
    key, record = asyncio.run(_create(gitops, org, environment, note))
    if as_json:
        return print_json({"key": key, **shown_key(record)})
    print(key)
    return typer.echo(f"{record.id} for {org}: stored as a hash only, so this is the one time it is shown", err=True)


@app.command("list")
def list_keys(
    org: Annotated[str | None, typer.Option(help="Only this org's.")] = None, as_json: AsJson = False
) -> None:
    """List keys, without the keys themselves."""
    records = asyncio.run(_list(org))
    if as_json:
        return print_json([shown_key(record) for record in records])
    rows = [(r.id, r.org, ",".join(sorted(r.plans)), moment(r.created_ms / 1000), r.note) for r in records]
    return print_table(["KEY", "ORG", "PRODUCTS", "CREATED", "NOTE"], rows)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id: key_…")], as_json: AsJson = False) -> None:
    """Take a key back for good; routers refuse it within a second."""
    record = asyncio.run(_revoke(key_id))
    if as_json:
        return print_json({"id": record.id, "org": record.org, "revoked": True})
    return print(f"{record.id} of {record.org} is revoked")


async def _create(gitops: Path, org: str, environment: str, note: str) -> tuple[str, KeyRecord]:
    catalog = load_catalog(gitops)
    async with bootstrap.backends(Settings.load()) as backends:
        keys = backends.by(bootstrap.person()).keys
        return await issue_key(keys, catalog, org, environment=environment, note=note, clock=bootstrap.CLOCK)


async def _list(org: str | None) -> list[KeyRecord]:
    async with bootstrap.backends(Settings.load()) as backends:
        return await backends.keys.list_keys(org)


async def _revoke(key_id: str) -> KeyRecord:
    async with bootstrap.backends(Settings.load()) as backends:
        record = await backends.by(bootstrap.person()).keys.revoke(key_id)
    if record is None:
        raise NotFound(f"no key {key_id!r}; `apx key list` shows them")
    return record
