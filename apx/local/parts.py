"""What a platform is made of. Tests of its life replace these with small ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from apx.local import preflight, table
from apx.local.process import Process
from apx.local.settings import LocalSettings


class Seeded(Protocol):
    """What seeding leaves."""

    @property
    def keys(self) -> Mapping[str, str]:
        """Return a demo key for each org."""
        ...

    @property
    def admin_token(self) -> str:
        """Return the token that the control API takes for its admin."""
        ...


def prepare(settings: LocalSettings) -> None:
    """Make the keys and secrets that every process reads as it starts, before two of them make different ones."""
    from apx import bootstrap  # noqa: PLC0415 -- a second of imports that `status` and `down` need not wait

    bootstrap.key_folder(settings)
    bootstrap.admin_token(settings)
    bootstrap.operators(settings)
    bootstrap.arm_tokens(settings)
    if settings.backends == "gcp":
        from apx.bootstrap import google  # noqa: PLC0415 -- as above, and what only this needs
        from apx.catalog.load import load_catalog  # noqa: PLC0415

        asyncio.run(google.furnish(settings, load_catalog(settings.gitops)))


def seed(settings: LocalSettings, gitops: Path, progress: Callable[[str], None]) -> Seeded:
    """Build, sign and activate the tree's releases; replace the demo keys."""
    from apx.local import seed as seeding  # noqa: PLC0415 -- as above

    return seeding.seed(settings, gitops, progress)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The table of processes, and what is done before and beside their start."""

    check: Callable[[LocalSettings], None] = preflight.check
    """Raises when the platform cannot be started."""
    processes: Callable[[LocalSettings], Sequence[Process]] = table.processes
    prepare: Callable[[LocalSettings], None] = prepare
    """Called once what comes first is ready and nothing else is started."""
    seed: Callable[[LocalSettings, Path, Callable[[str], None]], Seeded] = seed
    """Called while the rest starts."""
