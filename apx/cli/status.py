"""`apx status`: what serves, and what is about to."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from apx import bootstrap
from apx.cli import progress_text
from apx.cli.gate import chosen
from apx.cli.output import AsJson, print_blocks, print_json, print_table
from apx.cli.progress import Progress, look
from apx.cli.watch import display, watch
from apx.release.digest import short
from apx.rollout.actions import shown_state
from apx.rollout.active import Active, Snapshot
from apx.settings import Settings

Products = Annotated[list[str] | None, typer.Argument(help="Only these products.")]
Watching = Annotated[bool, typer.Option("--watch", help="Go on, and show each change.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0,
        help="Watch until the rollouts under way (or of these products) have ended: exit 0 when all were "
        "promoted, 2 when one was not, 1 after so many seconds.",
    ),
]
Commit = Annotated[
    str | None,
    typer.Option(help="With --timeout: what this commit began counts, also when it has ended."),
]


def status(
    products: Products = None,
    watching: Watching = False,
    timeout_s: Timeout = None,
    commit: Commit = None,
    as_json: AsJson = False,
) -> None:
    """Show which release of each product serves, and the rollouts under way side by side."""
    if watching or timeout_s is not None:
        raise typer.Exit(asyncio.run(watched(products or [], timeout_s, commit=commit, as_json=as_json)))
    snapshot, looked = asyncio.run(_looked(products or [], counted=not as_json))
    if as_json:
        return print_json(msgspec.to_builtins(snapshot))
    print_table(["PRODUCT", "RELEASE", "REVISION", "BEFORE", "ROLLOUT"], list(map(_row, snapshot.products.values())))
    return show(looked)


def show(looked: list[Progress]) -> None:
    """Print the blocks of products."""
    if looked:
        print_blocks(progress_text.blocks(looked), progress_text.text(looked))


def _row(active: Active) -> tuple[object, ...]:
    rollout = "" if active.rollout is None else shown_state(active.rollout)
    return active.product, short(active.stable), active.revision, short(active.previous or ""), rollout


async def _looked(products: list[str], *, counted: bool) -> tuple[Snapshot, list[Progress]]:
    async with bootstrap.backends(Settings.load()) as backends:
        snapshot = await backends.rollouts.read()
        wanted = chosen(snapshot, products)
        snapshot = msgspec.structs.replace(snapshot, products={one.product: one for one in wanted})
        told = [one for one in wanted if one.candidate or one.waiting or (products and one.rollout)]
        return snapshot, await look(backends, told) if counted and told else []


async def watched(products: list[str], timeout_s: float | None, *, commit: str | None = None, as_json: bool) -> int:
    """Show rollouts as they change; return the exit code."""
    async with bootstrap.backends(Settings.load()) as backends:
        with display(as_json=as_json) as shown:
            return await watch(backends, products, shown, timeout_s=timeout_s, commit=commit)
