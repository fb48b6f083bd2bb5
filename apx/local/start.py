"""Starts the processes of a table in their stages and waits until each is ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from apx.errors import Unavailable
from apx.local.folder import Folder
from apx.local.process import Process
from apx.local.progress import Progress
from apx.local.supervisor import Supervisor

POLL_S = 0.05
MOST_STARTS = 3
"""A process that has been started so often and is still not ready will not become so."""
LAST_LINES = 15

Result = TypeVar("Result")


def bring_up(
    supervisor: Supervisor,
    folder: Folder,
    processes: Sequence[Process],
    *,
    prepare: Callable[[], None],
    seed: Callable[[], Result],
    progress: Progress,
) -> Result:
    """Start what comes first, prepare, start the rest, seed meanwhile, await all; return what `seed` returned.

    Most of the time goes into importing Python modules, so that what can start together does. Raises `Unavailable` with
    the end of its log for the first process that does not become ready.
    """
    first = [process for process in processes if process.first]
    rest = [process for process in processes if not process.first]
    _await(supervisor, folder, first, _start(supervisor, first, progress), progress)
    prepare()
    started = _start(supervisor, rest, progress)
    progress.doing("building and signing releases")
    result = seed()
    _await(supervisor, folder, rest, started, progress)
    return result


def wait_until_ready(process: Process, timeout_s: float) -> None:
    """Return once the probe is content. Raises `Unavailable` with what it lacks after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while missing := process.ready.missing():
        if time.monotonic() > deadline:
            raise Unavailable(f"{process.name} is not ready after {timeout_s:g} s: {missing}")
        time.sleep(POLL_S)


def _start(supervisor: Supervisor, processes: Sequence[Process], progress: Progress) -> dict[str, float]:
    """Start them all; return when, by name, on the monotonic clock."""
    for process in processes:
        progress.doing(f"starting {process.name}")
        supervisor.start(process.name)
    return {process.name: time.monotonic() for process in processes}


def _await(
    supervisor: Supervisor, folder: Folder, processes: Sequence[Process], started: dict[str, float], progress: Progress
) -> None:
    waiting = list(processes)
    while waiting:
        missing = {process.name: process.ready.missing() for process in waiting}
        for process in [process for process in waiting if not missing[process.name]]:
            waiting.remove(process)
            progress.done(f"{process.name} is ready ({time.monotonic() - started[process.name]:.1f} s)")
        restarts = supervisor.restarts() if waiting else {}
        for process in waiting:
            _give_up(folder, process, time.monotonic() - started[process.name], restarts, missing[process.name])
        if waiting:
            progress.doing(f"waiting for {', '.join(process.name for process in waiting)}")
            time.sleep(POLL_S)


def _give_up(folder: Folder, process: Process, waited_s: float, restarts: dict[str, int], missing: str) -> None:
    if restarts.get(process.name, 0) + 1 > MOST_STARTS:
        why = f"it stopped {MOST_STARTS} times"
    elif waited_s > process.start_s:
        why = f"it is not ready after {process.start_s:g} s ({missing})"
    else:
        return
    log = folder.log(process.name)
    raise Unavailable(
        f"{process.name} does not start: {why}. The end of {log}:\n{_tail(log.read_text(errors='replace'))}"
    )


def _tail(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines()[-LAST_LINES:]) or "  (nothing)"
