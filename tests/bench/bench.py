"""What a group of rows runs in: a folder, platforms and peers, all of which end with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from apx.local import table
from apx.local.parts import Parts
from apx.local.platform import REPOSITORY, Platform, isolated
from apx.local.process import Process
from apx.local.settings import LocalSettings
from apx.local.signals import uninterrupted

BENCH_PYTHON = REPOSITORY / ".venv-bench" / "bin" / "python"
"""Where the peers live, so that their requirements never move ours."""
START_S = 30.0
STOP_S = 5.0
UNBOUNDED = dict.fromkeys(("APX_ROUTER_MOST_WORK", "APX_ROUTER_LEAST_WORK", "APX_EDGE_ROUTER_REQUESTS"), "1000000")
"""Settings of a platform without shedding."""


class NotMeasured(Exception):
    """Why a row has no figure."""


class Bench:
    """The surroundings of one group of rows; the end of the `with` block leaves no process and no file."""

    def __init__(self, *, quick: bool, say: Callable[[str], None]) -> None:
        self.quick = quick
        self.rounds = 2 if quick else 3
        self.seconds = 1.5 if quick else 4.0
        self.say = say
        self._stack = ExitStack()
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="apx-bench-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with uninterrupted():
            self._stack.close()

    def platform(
        self,
        name: str,
        gitops: Path,
        *,
        without: Sequence[str] = (),
        parts: Parts | None = None,
        start_s: float | None = None,
        env: Mapping[str, str] = UNBOUNDED,
    ) -> Platform:
        """Start a platform of its own, less the processes `without`; it ends with this bench.

        It turns nobody away, unless `env` says otherwise: a load that keeps every connection busy is more than there
        is room for.
        """

        def processes(settings: LocalSettings) -> list[Process]:
            return [_patient(one, start_s) for one in table.processes(settings) if one.name not in without]

        self.say(f"starting a platform ({name})")
        changed = msgspec.structs.replace(parts or Parts(), processes=processes)
        started = Platform.start(isolated(self.folder / name, gitops=gitops), parts=changed, env=env)
        self._stack.callback(started.stop)
        return started

    def start(self, *command: str, env: Mapping[str, str] | None = None, log: str) -> subprocess.Popen[bytes]:
        """Start a peer in the repository's folder; it ends with this bench. Its output goes to the file `log`."""
        with (self.folder / f"{log}.log").open("ab") as out:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._stack.callback(end, process)
        return process

    def await_port(self, port: int | Path, process: subprocess.Popen[bytes], log: str) -> None:
        """Return once something listens on a port of 127.0.0.1 or on a Unix socket. Raises `NotMeasured`."""
        deadline = time.monotonic() + START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / f"{log}.log").read_text(errors="replace")[-600:]
                raise NotMeasured(f"the peer {log} does not start: {said}")
            time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process that was started here, in a session of its own, with what it has started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of a module of ours."""
    return (sys.executable, "-m", module, *arguments)


def peer_python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of a module that runs in the peers' environment. Raises `NotMeasured` without one."""
    if not BENCH_PYTHON.exists():
        raise NotMeasured(f"the peers' environment is not there ({BENCH_PYTHON.parents[1].name}): ./dev bench makes it")
    return (str(BENCH_PYTHON), "-m", module, *arguments)


def _patient(process: Process, start_s: float | None) -> Process:
    if start_s is None:
        return process
    return msgspec.structs.replace(process, start_s=start_s)


def _listens(at: int | Path) -> bool:
    family = socket.AF_UNIX if isinstance(at, Path) else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(at) if isinstance(at, Path) else ("127.0.0.1", at))
        except OSError:
            return False
    return True
