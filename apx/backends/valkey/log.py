"""What the server's log (AOF) keeps: whether an answer means that the write is on the disk."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from valkey.asyncio import Valkey
from valkey.exceptions import NoPermissionError, ResponseError

from apx.errors import Misconfigured, Unavailable

LOOK_AGAIN_S = 60.0
"""An operator may change the settings of a running server."""
SYNC_TIMEOUT_MS = 1200
"""Longest wait for a sync that the server makes by itself; less than the client waits for a reply."""


class Log:
    """The log of one server, looked at when first needed, after a fault, and now and then."""

    def __init__(self, client: Valkey) -> None:
        """Ask `client`'s server."""
        self._client = client
        self._synced: bool | None = None
        self._until = 0.0

    async def synced(self) -> bool:
        """Say whether every answer comes after its sync; if not, `WAITAOF` has to ask for it.

        Raises `Misconfigured` when the server would lose what it has answered.
        """
        now = asyncio.get_running_loop().time()
        if self._synced is None or now >= self._until:
            self._synced, self._until = await self._look(), now + LOOK_AGAIN_S
        return self._synced

    async def settle(self) -> None:
        """Return once all that was written so far is on the disk.

        Raises `Unavailable` when that takes too long; then it was written, and may be lost with the power.
        """
        if await self.synced():
            return
        async with self._client.pipeline(transaction=False) as pipe:
            # WAITAOF waits for the last write of its own connection; what came before it in the log is synced with it.
            pipe.set("apx:sync", "")
            pipe.execute_command("WAITAOF", 1, 0, SYNC_TIMEOUT_MS)
            _, synced = await pipe.execute(raise_on_error=False)
        check_synced(synced)

    def forget(self) -> None:
        """Look again before the next write: the server may have been restarted with other settings."""
        self._synced = None

    async def _look(self) -> bool:
        try:
            settings = cast("dict[str, str]", await self._client.config_get("append*"))
        except NoPermissionError:
            return await self._look_from_outside()
        except ResponseError as error:
            if "unknown command" not in str(error):
                raise
            return await self._look_from_outside()
        if settings["appendonly"] != "yes" or settings["appendfsync"] == "no":
            raise Misconfigured(
                f"The store runs with appendonly {settings['appendonly']}, appendfsync {settings['appendfsync']}: "
                "it would lose accepted requests. Set appendonly yes and appendfsync always."
            )
        return settings["appendfsync"] == "always"

    async def _look_from_outside(self) -> bool:
        """Look where a managed server does not show its settings; then each write asks for its sync."""
        facts = cast("dict[str, Any]", await self._client.info("persistence"))
        if not facts.get("aof_enabled"):
            raise Misconfigured("The store keeps no append-only file: it would lose accepted requests.")
        return False


def check_synced(reply: list[int] | Exception) -> None:
    """Raise `Unavailable` unless `WAITAOF`'s reply says that the server itself has synced."""
    if isinstance(reply, Exception) or reply[0] < 1:
        raise Unavailable(f"the store did not sync its log within {SYNC_TIMEOUT_MS} ms")
