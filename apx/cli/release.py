"""`apx release`: build, list, show, verify, activate."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from apx import bootstrap
from apx.catalog.load import load_catalog
from apx.cli.output import AsJson, moment, print_json, print_table
from apx.errors import Conflict, NotFound, ReleaseRejected
from apx.local.repository import commit_tree, repository
from apx.release.build import Built
from apx.release.diff import Line, differences
from apx.release.digest import is_digest, short
from apx.release.store import Listed
from apx.rollout.activate import Activated, activate
from apx.settings import Settings

app = typer.Typer(help="Build, inspect and activate releases.", no_args_is_help=True)

Tree = Annotated[Path, typer.Option("--gitops", envvar="APX_GITOPS", help="The gitops tree.")]
Products = Annotated[list[str] | None, typer.Option("--product", help="Only this product; may stand several times.")]
Digest = Annotated[str, typer.Argument(help="A digest, or the first hex digits of one.")]


@app.command()
def build(gitops: Tree = Path("gitops"), product: Products = None, as_json: AsJson = False) -> None:
    """Validate, compile, test, sign and store; a broken tree changes nothing."""
    settings = Settings.load()
    catalog = load_catalog(gitops)
    built = asyncio.run(_built(settings, catalog, product))
    if as_json:
        return print_json(built)
    return print_table(
        ["PRODUCT", "RELEASE", ""], [(one.product, one.digest, "new" if one.new else "unchanged") for one in built]
    )


@app.command("list")
def list_releases(product: Products = None, as_json: AsJson = False) -> None:
    """List stored releases, newest first; `*` marks those that serve."""
    listed, live = asyncio.run(_listed(Settings.load()))
    wanted = [one for one in listed if not product or one.product in product]
    if as_json:
        return print_json([{**msgspec.to_builtins(one), "live": one.digest in live} for one in wanted])
    rows = [
        ("*" if one.digest in live else "", one.product, short(one.digest), moment(one.stored_at), _commit(one))
        for one in wanted
    ]
    return print_table(["LIVE", "PRODUCT", "RELEASE", "STORED", "COMMIT"], rows)


@app.command()
def show(digest: Digest) -> None:
    """Print a release's verified manifest as JSON."""
    settings = Settings.load()
    print_json(asyncio.run(_manifest(settings, digest)))


@app.command()
def verify(digest: Digest, as_json: AsJson = False) -> None:
    """Check signature, digests and parts; exit 1 when anything does not fit."""
    settings = Settings.load()
    full = asyncio.run(_verified(settings, digest))
    print_json({"digest": full, "verified": True}) if as_json else print(f"{full} is whole and signed by a trusted key")


@app.command()
def diff(base: Digest, head: Digest, as_json: AsJson = False) -> None:
    """Say in words how two releases of a product differ, the most dangerous first; exit 2 when they do."""
    lines = asyncio.run(_differences(Settings.load(), base, head))
    if as_json:
        print_json([{"danger": line.danger.name.lower(), "text": line.text} for line in lines])
    else:
        for line in lines:
            print(f"{line.danger.name.lower():<8} {line.text}")
    if lines:
        raise typer.Exit(2)


@app.command("activate")
def activate_releases(
    digests: Annotated[
        list[str] | None, typer.Argument(help="Releases; by default the newest of each product.")
    ] = None,
    why: Annotated[str, typer.Option(help="Goes into the history.")] = "",
    as_json: AsJson = False,
) -> None:
    """Serve releases from now on; every router, worker and edge follows within a second."""
    changed = asyncio.run(_activated(Settings.load(), digests or [], why))
    if as_json:
        return print_json([{"product": one.product, "release": one.digest, "changed": one.changed} for one in changed])
    return print_table(
        ["PRODUCT", "RELEASE", ""],
        [(one.product, short(one.digest), "live now" if one.changed else "was live already") for one in changed],
    )


async def _built(settings: Settings, catalog: Any, products: list[str] | None) -> list[Built]:
    builder = bootstrap.builder(settings, _annotations(settings, Path(catalog.root)))
    built = []
    async for one in builder.build(catalog, products):
        built.append(one)
        if sys.stderr.isatty():
            print(f"\r{len(built)} built", end="", file=sys.stderr)
    return built


async def _listed(settings: Settings) -> tuple[list[Listed], set[str]]:
    listed = [one async for one in bootstrap.release_store(settings).list_releases()]
    async with bootstrap.backends(settings) as backends:
        live = {active.stable for active in (await backends.rollouts.read()).products.values()}
    return listed, live


async def full_digest(settings: Settings, digest: str) -> str:
    """Return the one digest that starts so. Raises `NotFound` or `Conflict`."""
    if is_digest(digest):
        return digest
    start = digest.removeprefix("sha256:")
    found = [
        one.digest
        async for one in bootstrap.release_store(settings).list_releases()
        if start and one.digest.removeprefix("sha256:").startswith(start)
    ]
    if not found:
        raise NotFound(f"no stored release starts with {digest!r}; `apx release list` shows them")
    if len(found) > 1:
        raise Conflict(f"{len(found)} releases start with {digest!r}; give more digits")
    return found[0]


async def _manifest(settings: Settings, digest: str) -> Any:
    return await bootstrap.loader(settings).manifest(await full_digest(settings, digest))


async def _verified(settings: Settings, digest: str) -> str:
    full = await full_digest(settings, digest)
    try:
        await bootstrap.loader(settings).load(full)
    except NotFound as error:
        raise ReleaseRejected(f"{short(full)}: a part is missing: {error}") from error
    return full


async def _differences(settings: Settings, base: str, head: str) -> list[Line]:
    loader = bootstrap.loader(settings)
    before = await loader.load(await full_digest(settings, base))
    after = await loader.load(await full_digest(settings, head), before.manifest.product)
    return differences(before, after, None)


async def _activated(settings: Settings, digests: list[str], why: str) -> list[Activated]:
    wanted = [await full_digest(settings, digest) for digest in digests] or await _newest(settings)
    by = bootstrap.person()
    async with bootstrap.backends(settings) as backends:
        return await activate(
            backends.rollouts,
            bootstrap.loader(settings),
            wanted,
            actor=by.actor,
            source=by.source,
            why=why,
            clock=bootstrap.CLOCK,
        )


async def _newest(settings: Settings) -> list[str]:
    newest: dict[str, str] = {}
    async for one in bootstrap.release_store(settings).list_releases():
        newest.setdefault(one.product, one.digest)
    if not newest:
        raise NotFound("no release is stored; `apx release build` makes them")
    return [newest[product] for product in sorted(newest)]


def _annotations(settings: Settings, root: Path) -> dict[str, str]:
    """Return where the tree stands in Git, when it does: in the local platform's own repository, else in its own."""
    if repository(settings.home).exists() and (commit := commit_tree(settings.home, root)):
        return {"commit": commit}
    try:
        answer = subprocess.run(  # noqa: S603 -- fixed words, the tree's own path, no shell
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": answer.stdout.strip()}


def _commit(listed: Listed) -> str:
    return listed.annotations.get("commit", "")[:12]
