"""Envoy's admin interface, over its Unix socket: what it took over, what it refused, and the wish to leave."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Literal

import aiohttp

from apx.errors import Unavailable
from services.edge.settings import LAST_ANSWERS_S, EdgeSettings

Subscription = Literal["clusters", "filters", "routes", "listeners"]
_STATS: dict[Subscription, str] = {
    "clusters": "cluster_manager.cds",
    "filters": "extension_config_discovery.http_filter.envoy.filters.http.jwt_authn",
    "routes": "http.edge.rds.edge",
    "listeners": "listener_manager.lds",
}
_POLL_S = 0.02
_ANSWER = aiohttp.ClientTimeout(total=2.0)


class Admin:
    """A running Envoy, as its admin interface shows it. Every method raises `Unavailable` when there is none."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def rejected(self) -> dict[Subscription, int]:
        """Return how many updates Envoy has refused since its start, for each of its files."""
        stats = await self.stats(r"update_rejected$")
        return {name: int(stats.get(f"{prefix}.update_rejected", 0)) for name, prefix in _STATS.items()}

    async def took_over(self, name: Subscription, version: str, *, refused: int, within_s: float) -> bool:
        """Wait until Envoy serves `version` of a file; False when it refused it or did not come to it in time.

        `refused` is what `rejected` said of the file before it was written.
        """
        prefix = _STATS[name]
        served = False
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            stats = await self.stats(rf"^({prefix}\.(version_text|update_rejected)|cluster_manager\.warming_clusters)$")
            served = stats.get(f"{prefix}.version_text", "").strip('"') == version
            if served and (name != "clusters" or stats.get("cluster_manager.warming_clusters") == "0"):
                return True
            if int(stats.get(f"{prefix}.update_rejected", 0)) > refused:
                return False
            await asyncio.sleep(_POLL_S)
        return served  # a name that nobody answers for keeps its cluster cold, and must not hold up the others

    async def stats(self, pattern: str) -> dict[str, str]:
        """Return the stats whose name matches."""
        text = await self._call("GET", "/stats", {"filter": pattern})
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    async def reopen_logs(self) -> None:
        """Let Envoy go on in new files where its logs were moved away; it does so at its next line."""
        await self._call("POST", "/reopen_logs", {})

    async def drain(self, *, within_s: float) -> bool:
        """Ask clients to leave, stop listening, and wait for the requests under way; False when some are left.

        Envoy answers with `Connection: close` (HTTP/1) or GOAWAY (HTTP/2) from now on; at the end of its drain time it
        closes its listeners. It does not exit: that is for whoever started it.
        """
        await self._call("POST", "/drain_listeners", {"graceful": ""})
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            stats = await self.stats(r"^(http\.edge\.downstream_rq_active|listener_manager\.listener_stopped)$")
            if stats == {"http.edge.downstream_rq_active": "0", "listener_manager.listener_stopped": "1"}:
                return True
            await asyncio.sleep(_POLL_S)
        return False

    async def _call(self, method: str, path: str, query: dict[str, str]) -> str:
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._socket)), timeout=_ANSWER) as session,
                session.request(method, f"http://envoy{path}", params=query, raise_for_status=True) as answer,
            ):
                return await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(f"Envoy's admin interface on {self._socket} does not answer: {error}") from error


async def drain(settings: EdgeSettings) -> bool:
    """Drain this installation's Envoy before it is stopped: up to `edge_drain_s`, and a second for the last answers.

    True when nothing is left under way. An Envoy that is not there has nothing left either.
    """
    try:
        return await Admin(settings.admin_path).drain(within_s=settings.edge_drain_s + LAST_ANSWERS_S)
    except Unavailable:
        return True
