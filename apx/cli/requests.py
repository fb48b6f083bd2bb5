"""`apx requests` and `apx dlq`: look at what was accepted, and at what was given up."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

import typer

from apx import bootstrap
from apx.audit.record import Recorder
from apx.cli.output import AsJson, moment, print_json, print_table
from apx.errors import NotFound
from apx.requests import shown
from apx.requests.model import DeadLetter
from apx.requests.replay import replay_letters
from apx.settings import Settings

app = typer.Typer(help="Look at accepted requests.", no_args_is_help=True)
dlq = typer.Typer(help="Look at dead letters, and queue them again.", no_args_is_help=True)

Product = Annotated[str | None, typer.Option("--product", help="Only this product's.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Most to show.")]


@app.command()
def get(request_id: Annotated[str, typer.Argument(help="A request's id: req_…")]) -> None:
    """Print what is known of a request as JSON, without its body."""
    print_json(asyncio.run(_get(request_id)))


@app.command("list")
def list_lanes(as_json: AsJson = False) -> None:
    """Count what waits or runs, by product and org."""
    depth = asyncio.run(_depth())
    if as_json:
        return print_json(shown.lanes(depth))
    return print_table(["PRODUCT", "ORG", "REQUESTS"], [(p, o, n) for (p, o), n in sorted(depth.items())])


@dlq.command("list")
def list_dead_letters(product: Product = None, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List dead letters, newest first, with their reasons."""
    letters = asyncio.run(_dead_letters(product, limit))
    if as_json:
        return print_json([shown.dead_letter(letter) for letter in letters])
    rows = [(x.id, x.envelope.product, x.envelope.org, x.reason, x.attempts, moment(x.at_ms / 1000)) for x in letters]
    return print_table(["LETTER", "PRODUCT", "ORG", "REASON", "ATTEMPTS", "AT"], rows)


@dlq.command()
def replay(
    letter_ids: Annotated[list[str], typer.Argument(help="Dead letters, as `apx dlq list` shows them.")],
    product: Product = None,
    as_json: AsJson = False,
) -> None:
    """Queue dead letters again, each under a new id; prints old and new ids."""
    replayed_as = asyncio.run(_replay(letter_ids, product))
    if as_json:
        return print_json([{"request": old, "replayed_as": new} for old, new in replayed_as])
    for old, new in replayed_as:
        print(f"{old}\t{new}")
    return None


async def _get(request_id: str) -> dict[str, Any]:
    async with bootstrap.backends(Settings.load()) as backends:
        found = await backends.results.get(request_id)
    if found is None:
        raise NotFound(f"nothing is stored of {request_id!r}: it waits in its lane, or its time is over")
    return shown.request(found)


async def _depth() -> dict[tuple[str, str], int]:
    async with bootstrap.backends(Settings.load()) as backends:
        return await backends.bus.depth()


async def _dead_letters(product: str | None, limit: int) -> list[DeadLetter]:
    async with bootstrap.backends(Settings.load()) as backends:
        return await backends.bus.dead_letters(product, limit)


async def _replay(letter_ids: list[str], product: str | None) -> list[tuple[str, str]]:
    settings = Settings.load()
    receipts = bootstrap.receipts(settings, "us")
    async with bootstrap.backends(settings) as backends:
        return await replay_letters(
            backends.bus,
            letter_ids,
            receipts,
            bootstrap.CLOCK,
            os.urandom,
            product=product,
            recorded=Recorder(backends.audit, bootstrap.person()).replay,
        )
