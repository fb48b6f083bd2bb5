"""The machine and the versions that a run's figures belong to."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil

from apx.backends.valkey.server import find_server
from apx.policy.opa import Opa
from services.edge.binary import find_envoy
from services.edge.settings import EdgeSettings
from tests.bench.bench import BENCH_PYTHON

OURS = ("uvicorn", "uvloop", "wasmtime", "valkey", "aiohttp", "msgspec")
THEIRS = ("celery", "kombu", "redis", "gevent", "fastapi", "uvicorn", "uvloop")
GIB = 2**30


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures come from."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    load_average: tuple[float, ...]
    """Over 1, 5 and 15 minutes, before the run: above zero, somebody else was working too."""
    versions: dict[str, str]
    peer_versions: dict[str, str]
    generator: str

    def text(self) -> str:
        """Return it for people."""
        loads = ", ".join(f"{load:.1f}" for load in self.load_average)
        ours = ", ".join(f"{name} {value}" for name, value in self.versions.items())
        theirs = ", ".join(f"{name} {value}" for name, value in self.peer_versions.items())
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.kernel}; load before the run {loads}\n"
            f"{ours}\npeers: {theirs}\nload by {self.generator}\n"
        )


def describe(generator: str) -> Machine:
    """Look at this machine."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / GIB, 1),
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        load_average=tuple(round(load, 2) for load in os.getloadavg()),
        versions={
            "apx": _commit(),
            "python": platform.python_version(),
            "envoy": _said(str(find_envoy(EdgeSettings.load())), "--version").rpartition("version: ")[2].strip(),
            "valkey-server": _said(str(find_server()), "--version"),
            "opa": Opa.find().version(),
            **{name: version(name) for name in OURS},
        },
        peer_versions=_peers(),
        generator=generator,
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _commit() -> str:
    git = shutil.which("git")
    return _said(git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty") if git else ""


def _peers() -> dict[str, str]:
    if not BENCH_PYTHON.exists():
        return {}
    code = f"from importlib.metadata import version\nfor n in {THEIRS!r}: print(n, version(n))"
    return dict(line.split() for line in _said(str(BENCH_PYTHON), "-c", code, whole=True).splitlines())


def _said(*command: str, whole: bool = False) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if whole else done.stdout.strip().partition("\n")[0]
