"""The processes of the platform on one machine, in the order in which requests come to need them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from apx.backends.gcp import emulators
from apx.backends.valkey.server import server_command
from apx.local.folder import Folder
from apx.local.probes import FileProbe, HttpProbe, PingProbe
from apx.local.process import Process
from apx.local.settings import LocalSettings


def processes(settings: LocalSettings) -> list[Process]:
    """Return the table for resolved settings. Raises `Misconfigured` when there is no Valkey server to start."""
    folder = Folder(settings.home)
    store = [] if settings.valkey_url else [_store(folder)]
    if settings.backends == "gcp":
        store += _emulators(settings)
    workers = [_worker(number, settings.worker_port + number - 1) for number in range(1, settings.workers + 1)]
    return [
        *store,
        Process(
            name="demo",
            command=_python("examples.demo_backend", "--port", str(settings.demo_port)),
            ready=HttpProbe("/healthz", port=settings.demo_port),
            address=_url(settings.demo_port),
            stop_s=3,
        ),
        Process(
            name="control",
            command=_python("services.control"),
            ready=HttpProbe("/readyz", port=settings.control_port),
            address=_url(settings.control_port),
            stop_s=5,
        ),
        Process(
            name="monitor",
            command=_python("services.monitor"),
            ready=HttpProbe("/readyz", port=settings.monitor_port),
            address=_url(settings.monitor_port),
            stop_s=5,
        ),
        *workers,
        Process(
            name="router",
            command=_python("services.router"),
            ready=HttpProbe("/readyz", socket=str(folder.router_socket)),
            environment={"APX_ROUTER_SOCKET": str(folder.router_socket)},
            address=f"{_url(settings.router_port)}/metrics",
            stop_s=12,
        ),
        Process(
            name="edge-config",
            command=_python("services.edge"),
            ready=FileProbe(str(settings.home / "edge" / "published.json"), since=time.time()),
            stop_s=3,
        ),
        Process(
            name="edge",
            command=_python("services.edge.envoy"),
            ready=HttpProbe("/readyz", port=settings.edge_port),
            address=_url(settings.edge_port),
            stop_s=12,
        ),
    ]


def _store(folder: Folder) -> Process:
    return Process(
        name="valkey",
        command=tuple(server_command(folder.valkey, folder.valkey_socket)),
        ready=PingProbe(str(folder.valkey_socket)),
        first=True,
        address=str(folder.valkey_socket),
        stop_s=5,
    )


def _emulators(settings: LocalSettings) -> list[Process]:
    firestore, pubsub, storage = settings.firestore_port, settings.pubsub_port, settings.storage_port
    return [
        _emulator("firestore", emulators.firestore_command(firestore), firestore, "/"),
        _emulator("pubsub", emulators.pubsub_command(pubsub), pubsub, "/"),
        _emulator("storage", emulators.storage_command(storage), storage, "/_internal/healthcheck"),
    ]


def _emulator(name: str, command: Sequence[str], port: int, path: str) -> Process:
    return Process(
        name=name,
        command=tuple(command),
        ready=HttpProbe(path, port=port),
        first=True,
        address=_url(port),
        stop_s=3,
    )


def _worker(number: int, port: int) -> Process:
    return Process(
        name="worker" if number == 1 else f"worker-{number}",
        command=_python("services.worker"),
        ready=HttpProbe("/readyz", port=port),
        environment={"APX_WORKER_PORT": str(port)},
        address=_url(port),
        stop_s=10,
    )


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
