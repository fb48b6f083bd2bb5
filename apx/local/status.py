"""What of the platform runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from apx.errors import Unavailable
from apx.local.folder import Folder
from apx.local.platform import read_record
from apx.local.process import Process
from apx.local.supervisor import Running, Supervisor

COLUMNS = ("process", "state", "pid", "uptime", "restarts", "address")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `state`: `running`, `not ready` (alive, but its probe says no) or `stopped`."""

    process: str
    state: str
    pid: int | None = None
    uptime_s: int | None = None
    restarts: int = 0
    address: str = ""
    missing: str = ""
    """What it lacks to be ready."""


def rows(folder: Folder) -> list[Row]:
    """Return a row for each process that was started in a folder; none when no platform was."""
    record = read_record(folder)
    if record is None:
        return []
    supervisor = Supervisor(folder)
    try:
        running = supervisor.processes()
    except Unavailable:
        running = {}
    restarts = supervisor.restarts()
    return [_row(process, running.get(process.name), restarts.get(process.name, 0)) for process in record.processes]


def healthy(found: Sequence[Row]) -> bool:
    """Say whether everything runs, and is ready."""
    return bool(found) and all(row.state == "running" for row in found)


def as_text(found: Sequence[Row]) -> str:
    """Return the rows as a table in plain text."""
    cells = [COLUMNS, *((r.process, r.state, _pid(r), _uptime(r), str(r.restarts), r.address) for r in found)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def _row(process: Process, running: Running | None, restarts: int) -> Row:
    if running is None or not running.pid:
        return Row(process=process.name, state="stopped", restarts=restarts, address=process.address)
    missing = process.ready.missing()
    return Row(
        process=process.name,
        state="not ready" if missing else "running",
        pid=running.pid,
        uptime_s=max(0, int(time.time() - running.since)),
        restarts=restarts,
        address=process.address,
        missing=missing,
    )


def _pid(row: Row) -> str:
    return str(row.pid) if row.pid else "-"


def _uptime(row: Row) -> str:
    if row.uptime_s is None:
        return "-"
    minutes, seconds = divmod(row.uptime_s, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
