"""Fill a fresh platform: build and activate every release of a gitops tree, and give each org a demo key.

`python -m apx.local.seed [TREE]` leaves the keys out, for where what a process prints is kept.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from apx import bootstrap
from apx.admission.issue import issue_key
from apx.admission.orgs import apply_terms, terms_of
from apx.catalog.load import load_catalog
from apx.catalog.model import Catalog
from apx.errors import ApxError
from apx.local.repository import commit_tree
from apx.rollout.activate import activate
from apx.settings import Settings

_NOTE = "demo key of this machine"


class Seeded(msgspec.Struct, frozen=True):
    """What `./dev up` shows once."""

    keys: dict[str, str]
    admin_token: str


def seed(settings: Settings, gitops: Path, progress: Callable[[str], None]) -> Seeded:
    """Build, sign and activate the tree's releases; replace the demo keys.

    Raises `InvalidCatalog`, `PolicyRejected`, `Misconfigured` or `Unavailable`; what served before goes on.
    """
    return asyncio.run(_seed(settings, gitops, progress))


async def _seed(settings: Settings, gitops: Path, progress: Callable[[str], None]) -> Seeded:
    catalog = load_catalog(gitops)
    async with bootstrap.backends(settings) as backends:
        await _release(settings, backends, catalog, gitops, progress)
        recorded = backends.by(bootstrap.person()).keys
        for record in await recorded.list_keys():
            if record.note == _NOTE:
                await recorded.revoke(record.id)
        keys = {}
        for org in sorted(catalog.orgs):
            keys[org], _ = await issue_key(
                recorded, catalog, org, environment="local", note=_NOTE, clock=bootstrap.CLOCK
            )
    progress(f"keys: one for each of {', '.join(keys)}")
    return Seeded(keys=keys, admin_token=bootstrap.admin_token(settings))


async def _serve(settings: Settings, gitops: Path, progress: Callable[[str], None]) -> None:
    catalog = load_catalog(gitops)
    async with bootstrap.backends(settings) as backends:
        await _release(settings, backends, catalog, gitops, progress)


async def _release(
    settings: Settings,
    backends: bootstrap.Backends,
    catalog: Catalog,
    gitops: Path,
    progress: Callable[[str], None],
) -> None:
    """Build and sign the tree's releases; make those live whose product has no rollout under way."""
    progress(f"catalog: {len(catalog.products)} products, {len(catalog.plans)} plans, {len(catalog.orgs)} orgs")
    commit = commit_tree(settings.home, gitops)
    built = [one async for one in bootstrap.builder(settings, {"commit": commit} if commit else {}).build(catalog)]
    progress(f"releases: {len(built)} signed, {sum(one.new for one in built)} of them new")
    moving = {
        name
        for name, active in (await backends.rollouts.read()).products.items()
        if active.candidate is not None or active.waiting is not None
    }
    for name in sorted(moving):
        progress(f"{name}: a rollout is under way and goes on; `apx rollout start` begins the next")
    by = bootstrap.person()
    await activate(
        backends.rollouts,
        bootstrap.loader(settings),
        [one.digest for one in built if one.product not in moving],
        actor=by.actor,
        source=by.source,
        why="./dev up",
        clock=bootstrap.CLOCK,
    )
    applied = await apply_terms(backends.by(by).orgs, map(terms_of, catalog.orgs.values()))
    if changed := [one.org for one in applied if one.changed]:
        progress(f"orgs: new terms of {', '.join(changed)}")


def main(arguments: Sequence[str]) -> int:
    """Make what a tree says serve; 1 with one readable message when it cannot."""
    try:
        settings = Settings.load()
        bootstrap.admin_token(settings)  # whoever starts next finds it
        asyncio.run(_serve(settings, Path(*arguments[:1] or ("gitops",)).resolve(), _print))
    except ApxError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
