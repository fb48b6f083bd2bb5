"""Drives supervisord: one daemon for each platform, configured by a file that we write, spoken to on a Unix socket.

`startsecs=0` with `autorestart=true` is what makes restarts endless: a process that dies is started again at the next
turn of supervisord's loop (at most a second), however often it has died, and never becomes FATAL.
"""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import msgspec

from apx.errors import Unavailable
from apx.local.folder import Folder
from apx.local.leftovers import MARKER
from apx.local.process import Process
from apx.local.unix import UnixConnection

MOST_OPEN_FILES = 65_536
TIMEOUT_S = 5.0
LOG_BYTES = 10_000_000
"""A log is rotated at this size, and three older ones are kept."""


class Running(msgspec.Struct, frozen=True):
    """What supervisord says of one process. `pid` 0: it does not run; `since`: seconds since the epoch."""

    name: str
    state: str
    pid: int
    since: float


class Supervisor:
    """The daemon of one data folder, whether it runs or not."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._config = folder.run / "supervisord.conf"
        self._log = folder.log("supervisord")

    def launch(self, processes: Sequence[Process], environment: Mapping[str, str], directory: Path) -> None:
        """Start the daemon, which starts nothing yet. Raises `Unavailable` with its own words when it cannot."""
        self._config.write_text(render(self._folder, processes, directory))
        self._log.unlink(missing_ok=True)
        done = subprocess.run(  # noqa: S603 -- our own interpreter and our own file
            [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "--configuration", str(self._config)],
            env={**environment, MARKER: str(self._folder.root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not self.alive():
            raise Unavailable(f"The supervisor does not start: {done.stderr.strip() or done.stdout.strip()}")

    def alive(self) -> bool:
        """Say whether the daemon answers."""
        try:
            self._call("supervisor.getState")
        except Unavailable:
            return False
        return True

    def start(self, name: str) -> None:
        """Start a process and keep it running. Raises `Unavailable` when its program cannot be started."""
        self._call("supervisor.startProcess", name, False)  # noqa: FBT003 -- wait: by position in XML-RPC

    def processes(self) -> dict[str, Running]:
        """Return what runs, by name. Raises `Unavailable` when the daemon does not answer."""
        rows = cast("list[dict[str, Any]]", self._call("supervisor.getAllProcessInfo"))
        return {row["name"]: Running(row["name"], row["statename"], row["pid"], row["start"]) for row in rows}

    def shut_down(self) -> None:
        """Ask the daemon to stop its processes, one after the other, and to exit. Returns at once."""
        self._call("supervisor.shutdown")

    def restarts(self) -> dict[str, int]:
        """Return how often each process was started again; supervisord itself only logs it."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return {}
        names = [line.split("'")[1] for line in lines if " spawned: '" in line]
        return {name: names.count(name) - 1 for name in set(names)}

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _UnixTransport(self._folder.supervisor_socket)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy, method)(*arguments)
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            raise Unavailable(f"The supervisor of {self._folder.root} does not answer {method}: {error}") from error


class _UnixTransport(xmlrpc.client.Transport):
    """Not supervisor's own, which waits for ever on a daemon that hangs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> UnixConnection:
        made = UnixConnection(str(self._path), TIMEOUT_S)
        self._connection = host, made
        return made


def render(folder: Folder, processes: Sequence[Process], directory: Path) -> str:
    """Return supervisord's configuration for these processes, which stop in the reverse of their order."""
    head = f"""\
[unix_http_server]
file={folder.supervisor_socket}
chmod=0700

[supervisord]
logfile={folder.log("supervisord")}
logfile_maxbytes={LOG_BYTES}
logfile_backups=3
pidfile={folder.run / "supervisord.pid"}
childlogdir={folder.logs}
silent=true
minfds={_open_files()}
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    return head + "".join(_program(folder, process, place, directory) for place, process in enumerate(processes))


def _program(folder: Folder, process: Process, place: int, directory: Path) -> str:
    variables = ",".join(f'{name}="{_literal(value)}"' for name, value in process.environment.items())
    return f"""
[program:{process.name}]
command={_literal(shlex.join(process.command))}
directory={_literal(str(directory))}
environment={variables}
priority={place}
autostart=false
autorestart=true
startsecs=0
startretries=1000000
stopsignal=TERM
stopwaitsecs={process.stop_s}
killasgroup=true
redirect_stderr=true
stdout_logfile={folder.log(process.name)}
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups=3
"""


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _open_files() -> int:
    """Return as many open files as this user may have, within reason: one for each connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OPEN_FILES if most == resource.RLIM_INFINITY else min(most, MOST_OPEN_FILES)
