"""Commands that are run elsewhere: the one port through which Terraform, gcloud and docker are reached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

import msgspec

NOT_THERE = 127
INTERRUPTED = 130
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Done(msgspec.Struct, frozen=True):
    """How a command ended, and what it said."""

    code: int
    stdout: bytes = b""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Say whether it exited 0."""
        return self.code == 0

    @property
    def text(self) -> str:
        """Return its standard output as text, without the last newline."""
        return self.stdout.decode(errors="replace").strip()


class Commands(Protocol):
    """Runs commands to their end."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        secret: bytes | None = None,
        shown_as: str = "",
    ) -> Done:
        """Run a command and wait for it, never for a person: it has no terminal to ask on.

        `env` is added to the environment. `secret` is its standard input, and goes nowhere else. With `shown_as`, its
        lines are also shown as they come, after this name. A program that is not there ends with `NOT_THERE`; once
        somebody has interrupted, nothing new is started and everything ends with `INTERRUPTED`. May be called from
        several threads.
        """
        ...


class Processes:
    """Real processes, each in a group of its own: a Ctrl-C comes to us alone, and goes to each of them once.

    Terraform takes a second interrupt for an order to drop everything, its state included.
    """

    def __init__(self, out: IO[str] = sys.stderr) -> None:
        self._out = out
        self._lock = threading.RLock()  # a handler may come while its own thread holds it
        self._running: set[subprocess.Popen[bytes]] = set()
        self._told: set[subprocess.Popen[bytes]] = set()
        self._stopped = False  # no Event: its lock is not reentrant, and a handler may interrupt another

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        secret: bytes | None = None,
        shown_as: str = "",
    ) -> Done:
        """Run a command, as `Commands` promises."""
        try:
            process = self._start(argv, cwd, env, secret)
        except OSError as error:
            return Done(NOT_THERE, stderr=f"{argv[0]}: {error.strerror}")
        if process is None:
            return Done(INTERRUPTED, stderr=f"{argv[0]}: not started after an interrupt")
        try:
            with process, ThreadPoolExecutor(2) as pool:
                read = [pool.submit(self._read, one, shown_as) for one in (process.stdout, process.stderr) if one]
                _give(process.stdin, secret)
                stdout, stderr = (one.result() for one in read)
                code = process.wait()
            return Done(code, stdout, stderr.decode(errors="replace"))
        finally:
            with self._lock:
                self._running.discard(process)

    def _is_stopped(self) -> bool:
        return self._stopped

    def interrupt(self) -> bool:
        """Interrupt what runs, each process once, and start nothing more; say whether anything runs."""
        with self._lock:
            first = not self._stopped
            self._stopped = True
            for process in self._running:
                self._tell(process)
            waiting = bool(self._running)
        if waiting:
            said = "passed the interrupt on; waiting until it has ended well" if first else "still waiting for it"
            with suppress(RuntimeError):  # one handler interrupted another while it wrote
                self._out.write(f"\n{said}: to be killed now could cost its state\n")
                self._out.flush()
        return waiting

    def _start(
        self, argv: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None, secret: bytes | None
    ) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._is_stopped():
                return None
            process = subprocess.Popen(  # noqa: S603 -- the deployment's own commands
                argv,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL if secret is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
            self._running.add(process)
            if self._is_stopped():  # between the two lines before, in this very thread
                self._tell(process)
            return process

    def _tell(self, process: subprocess.Popen[bytes]) -> None:
        if process not in self._told:
            self._told.add(process)
            process.send_signal(signal.SIGINT)

    def _read(self, stream: IO[bytes], shown_as: str) -> bytes:
        lines = []
        for line in stream:
            lines.append(line)
            if shown_as:
                self._out.write(f"{shown_as} | {line.decode(errors='replace').rstrip()}\n")
                self._out.flush()
        return b"".join(lines)


@contextmanager
def interrupts_passed_on(processes: Processes) -> Iterator[None]:
    """Let Ctrl-C, a request to stop and a lost terminal reach what runs, once; else raise `KeyboardInterrupt`."""

    def handle(_: int, __: FrameType | None) -> None:
        if not processes.interrupt():
            raise KeyboardInterrupt

    before = [(number, signal.signal(number, handle)) for number in STOPPING]
    try:
        yield
    finally:
        for number, previous in before:
            signal.signal(number, previous)


def _give(stream: IO[bytes] | None, secret: bytes | None) -> None:
    if stream is None:
        return
    with suppress(BrokenPipeError):  # it ended without reading, and says why
        stream.write(secret or b"")
        stream.close()
