"""Starts the peer that a team would build by itself: FastAPI, Celery and a Redis-compatible store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from apx.backends.valkey.server import server_command
from apx.local.settings import free_ports
from tests.bench.bench import Bench, peer_python

KEY = "peer_local_3jACNNWNSVDH9vClYJC0q06LhJS09zpX6"
_SERVER = ("--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "error", "--backlog", "4096")


def start_store(bench: Bench, name: str, appendfsync: Literal["always", "everysec"] = "always") -> Path:
    """Start a store like the platform's; return its socket."""
    data = bench.folder / f"store-{name}"
    data.mkdir()
    socket = bench.folder / f"{name}.sock"
    log = f"store-{name}"
    bench.await_port(socket, bench.start(*server_command(data, socket, appendfsync=appendfsync), log=log), log)
    return socket


def start_api(bench: Bench, store: Path, dispatch: Literal["thread", "direct"]) -> int:
    """Start the API on a store; return its port."""
    (port,) = free_ports(1)
    log = f"api-{store.stem}-{dispatch}"
    environment = {"PEER_STORE": str(store), "PEER_KEY": KEY, "PEER_DISPATCH": dispatch, "PEER_BACKEND": "127.0.0.1:9"}
    command = peer_python("uvicorn", "tests.bench.peer.orders_api:app", "--port", str(port), *_SERVER)
    bench.await_port(port, bench.start(*command, env=environment, log=log), log)
    return port
