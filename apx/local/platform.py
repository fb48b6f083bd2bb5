"""The whole platform on one machine: started, seeded, stopped. `./dev up` and the end-to-end tests use this alone.

with Platform.start(isolated(home)) as platform:
    httpx.get(f"{platform.edge}/healthz")
    platform.kill("router")
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

import apx
from apx.errors import NotFound, Unavailable
from apx.local import preflight
from apx.local.drain import drain_edge
from apx.local.folder import Folder
from apx.local.leftovers import end, leftovers
from apx.local.parts import Parts, Seeded
from apx.local.process import Process
from apx.local.progress import Progress, Silent
from apx.local.settings import LocalSettings
from apx.local.signals import uninterrupted
from apx.local.start import bring_up, wait_until_ready
from apx.local.supervisor import Supervisor

REPOSITORY = Path(apx.__file__).parents[1]
DRAIN_S = 4.0
"""How long requests under way may take when a platform is stopped."""
STOP_S = 21.0
"""From then until what still runs is killed; it has three more seconds to go by itself."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What was started, for `status`, `logs` and `down`; it holds no key."""

    edge: str
    control: str
    started: float
    processes: tuple[Process, ...]


class Platform:
    """A platform that runs. `stop` or the end of the `with` block leaves no process and no port."""

    def __init__(self, settings: LocalSettings, processes: Sequence[Process], seeded: Seeded) -> None:
        self.settings = settings
        self.home = settings.home
        self.edge = f"http://127.0.0.1:{settings.edge_port}"
        self.control = f"http://127.0.0.1:{settings.control_port}"
        self.keys = dict(seeded.keys)
        self.admin_token = seeded.admin_token
        self._folder = Folder(settings.home)
        self._processes = {process.name: process for process in processes}
        self._supervisor = Supervisor(self._folder)

    @classmethod
    def start(
        cls,
        settings: LocalSettings,
        *,
        env: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        parts: Parts | None = None,
    ) -> Self:
        """Check, start, seed and await everything; `env` is added to the processes' environment.

        Raises an `ApxError` with one readable message, and then nothing is left running.
        """
        settings, parts, said = settings.resolved(), parts or Parts(), progress or Silent()
        folder = Folder(settings.home)
        folder.make()
        with folder.starting():
            preflight.check_vacant(folder)
            parts.check(settings)
            declared = parts.processes(settings)
            environment = {**os.environ, **(env or {}), **settings.environment(), "PYTHONUNBUFFERED": "1"}
            try:
                supervisor = Supervisor(folder)
                supervisor.launch(declared, environment, REPOSITORY)
                write_record(folder, settings, declared)
                with environment_of(settings):
                    seeded = bring_up(
                        supervisor,
                        folder,
                        declared,
                        prepare=lambda: parts.prepare(settings),
                        seed=lambda: parts.seed(settings, settings.gitops, said.done),
                        progress=said,
                    )
            except BaseException:
                with uninterrupted():
                    stop(folder)
                raise
        return cls(settings, declared, seeded)

    def stop(self) -> None:
        """Stop everything in order; safe to repeat."""
        stop(self._folder)

    def pid(self, name: str) -> int:
        """Return the pid of a process, 0 while it is down. Raises `NotFound` for a name that is not in the table."""
        self._declared(name)
        return self._supervisor.processes()[name].pid

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a process; return the pid that got it. The supervisor starts again what dies of it."""
        pid = self.pid(name)
        if not pid:
            raise Unavailable(f"{name} does not run now.")
        os.kill(pid, number)
        return pid

    def wait_ready(self, name: str, *, timeout_s: float = 30.0) -> None:
        """Return once the process answers its probe. Raises `Unavailable` after `timeout_s`."""
        wait_until_ready(self._declared(name), timeout_s)

    def log(self, name: str) -> str:
        """Return what a process has written since its log was last rotated."""
        return self._folder.log(name).read_text(errors="replace")

    def running(self) -> bool:
        """Say whether the supervisor is there."""
        return self._supervisor.alive()

    def _declared(self, name: str) -> Process:
        if name not in self._processes:
            raise NotFound(f"There is no process {name!r}; there are {', '.join(self._processes)}.")
        return self._processes[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


@contextmanager
def environment_of(settings: LocalSettings) -> Iterator[None]:
    """Let Google's clients that this process makes meanwhile find the platform's emulators, if it has any."""
    told = settings.google()
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def isolated(
    home: Path,
    *,
    gitops: Path | None = None,
    workers: int = 1,
    backends: Literal["local", "gcp"] = "local",
) -> LocalSettings:
    """Return settings for a platform that shares no port with any other, for tests."""
    return LocalSettings(
        backends=backends,
        home=home,
        gitops=gitops or REPOSITORY / "gitops",
        workers=workers,
        edge_port=0,
        control_port=0,
        router_port=0,
        worker_port=0,
        demo_port=0,
        monitor_port=0,
    )


def stop(folder: Folder, *, within_s: float = STOP_S) -> bool:
    """Stop the platform of a folder, also one whose supervisor was killed; return whether there was one."""
    folder.record.unlink(missing_ok=True)  # first: an attached `up` sees by it that this end is wanted
    supervisor = Supervisor(folder)
    found = supervisor.alive()
    if found:
        drain_edge(folder.edge_admin_socket, within_s=DRAIN_S)
        with suppress(Unavailable):  # gone in this moment
            supervisor.shut_down()
        _await_end(folder, supervisor, within_s)
    left = leftovers(folder.root)
    end(left, grace_s=3.0)
    folder.supervisor_socket.unlink(missing_ok=True)
    return found or bool(left)


def read_record(folder: Folder) -> Record | None:
    """Return what was last started in a folder and not stopped since."""
    try:
        return msgspec.json.decode(folder.record.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def write_record(folder: Folder, settings: LocalSettings, processes: Sequence[Process]) -> None:
    """Write down what is being started."""
    record = Record(
        edge=f"http://127.0.0.1:{settings.edge_port}",
        control=f"http://127.0.0.1:{settings.control_port}",
        started=time.time(),
        processes=tuple(processes),
    )
    folder.record.write_bytes(msgspec.json.encode(record))


def _await_end(folder: Folder, supervisor: Supervisor, within_s: float) -> None:
    """Wait for the supervisor to go. Each question wakes it, which saves its second of sleep between two stops."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and (supervisor.alive() or leftovers(folder.root)):
        time.sleep(0.1)
