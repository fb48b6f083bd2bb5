"""Finds what is left of a platform whose supervisor died: by a mark in the environment, never by name.

`APX_HOME` would not do as the mark: a shell or a test run that exported it has it too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

MARKER = "APX_PLATFORM"
"""Set for the supervisor and so for everything it starts: the data folder of their platform."""


def leftovers(home: Path) -> list[psutil.Process]:
    """Return the living processes of the platform in `home`, this one excepted."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _belongs(process, home)]


def end(processes: Sequence[psutil.Process], *, grace_s: float) -> None:
    """Ask each to stop, and kill those that still run after `grace_s`. A reused pid is told apart by psutil."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == str(home)
    except (psutil.Error, OSError):
        return False  # gone meanwhile, or another user's
