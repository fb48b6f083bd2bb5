"""Lets the edge finish what is under way before anything is stopped."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

from apx.local.unix import UnixConnection

TIMEOUT_S = 2.0
POLL_S = 0.05
ACTIVE = r"^http\.edge\.downstream_rq_active$"


def drain_edge(admin_socket: Path, *, within_s: float) -> bool:
    """Have Envoy take no more connections, and wait for the requests under way; False when some are left.

    Open connections stay usable until Envoy exits. An Envoy that is not there has nothing under way.
    """
    deadline = time.monotonic() + within_s
    try:
        _ask(admin_socket, "POST", "/drain_listeners")
        while _active(_ask(admin_socket, "GET", f"/stats?filter={ACTIVE}")):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
    except (OSError, http.client.HTTPException):
        return True
    return True


def _active(stats: str) -> bool:
    return any(line.rpartition(": ")[2] not in {"", "0"} for line in stats.splitlines())


def _ask(admin_socket: Path, method: str, path: str) -> str:
    connection = UnixConnection(str(admin_socket), TIMEOUT_S)
    try:
        connection.request(method, path, headers={"Content-Length": "0"})
        return connection.getresponse().read().decode("utf-8", "replace")
    finally:
        connection.close()
