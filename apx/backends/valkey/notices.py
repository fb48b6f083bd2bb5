"""What other processes say: one pub/sub connection for the whole process, shared by all who listen.

A notice says only that something may have happened; who hears it reads the truth from the store. After a lost
connection every listener is woken, since notices may have been missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from valkey.asyncio import Valkey
from valkey.asyncio.connection import AbstractConnection
from valkey.exceptions import ValkeyError

from apx.backends.valkey.connection import CALL_TIMEOUT_S
from apx.errors import Unavailable

PING_AFTER_S = 5.0
"""A connection that was silent for so long is asked; one that stays silent is given up."""
MOST_KEPT = 1000
"""Notices kept for a listener that does not read."""

_log = structlog.get_logger(__name__)


class Listener:
    """Somebody who listens to one channel."""

    def __init__(self) -> None:
        self.notices: deque[bytes] = deque(maxlen=MOST_KEPT)
        self._woken = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a notice since the last call; False when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def wake(self, notice: bytes | None = None) -> None:
        """Wake the listener, with a notice or only to look again."""
        if notice is not None:
            self.notices.append(notice)
        self._woken.set()


class _Channel:
    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.open = asyncio.Event()


class Notices:
    """Channels of one process, over one connection that comes back by itself."""

    def __init__(self, client: Valkey) -> None:
        """Connect with the client's address when the first listener comes."""
        self._pool = client.connection_pool
        self._connection: AbstractConnection | None = None
        self._channels: dict[bytes, _Channel] = {}
        self._owed: dict[bytes, int] = {}
        self._outbox: list[tuple[bytes, bytes]] = []
        self._posted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listen(self, name: str) -> AsyncIterator[Listener]:
        """Listen to a channel; everything published after this has begun is heard. Raises `Unavailable`."""
        listener = await self.open(name)
        try:
            yield listener
        finally:
            self.close(name, listener)

    async def open(self, name: str) -> Listener:
        """Begin to listen, until `close`. Raises `Unavailable`."""
        key, listener = name.encode(), Listener()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel()
            self._post(b"SUBSCRIBE", key)
        channel.listeners.add(listener)
        try:
            await _opened(channel, name)
        except BaseException:
            self.close(name, listener)
            raise
        return listener

    def close(self, name: str, listener: Listener) -> None:
        """Stop listening."""
        key = name.encode()
        channel = self._channels.get(key)
        if channel is None or listener not in channel.listeners:
            return
        channel.listeners.discard(listener)
        if not channel.listeners:
            del self._channels[key]
            self._post(b"UNSUBSCRIBE", key)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._running is not None:
            await end(self._running)
            self._running = None

    def _post(self, verb: bytes, key: bytes) -> None:
        self._outbox.append((verb, key))
        self._posted.set()

    async def _run(self) -> None:
        pause_s = 0.02
        while True:
            connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await connection.connect()
                await self._subscribe_all(connection)
                pause_s = 0.02
                await self._serve(connection)
            except (ValkeyError, OSError):
                pass
            except Exception:  # noqa: BLE001 -- without this task every listener of the process would wait in vain
                _log.exception("notices-failed")
            finally:
                for channel in self._channels.values():
                    channel.open.clear()
                with suppress(ValkeyError, OSError):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)

    async def _subscribe_all(self, connection: AbstractConnection) -> None:
        self._outbox.clear()
        self._owed = dict.fromkeys(self._channels, 1)
        if self._channels:
            await connection.send_command("SUBSCRIBE", *self._channels)
        for channel in self._channels.values():
            for listener in channel.listeners:
                listener.wake()

    async def _serve(self, connection: AbstractConnection) -> None:
        sending = asyncio.create_task(self._send(connection))
        try:
            asked = False
            while not sending.done():
                reply = await connection.read_response(timeout=PING_AFTER_S, disconnect_on_error=False)
                if reply is not None:
                    asked = False
                    self._hear(reply)
                elif asked:
                    return
                else:
                    asked = True
                    await connection.send_command("PING")
        finally:
            await end(sending)

    async def _send(self, connection: AbstractConnection) -> None:
        while True:
            await self._posted.wait()
            self._posted.clear()
            posted, self._outbox = self._outbox, []
            packed: list[bytes] = []
            for verb, key in posted:
                if verb == b"SUBSCRIBE":
                    self._owed[key] = self._owed.get(key, 0) + 1
                packed += connection.pack_command(verb, key)
            try:
                await connection.send_packed_command(packed, check_health=False)
            except (ValkeyError, OSError):
                return

    def _hear(self, reply: Any) -> None:
        kind, key = reply[0], reply[1]
        channel = self._channels.get(key)
        if kind == b"message" and channel is not None:
            for listener in channel.listeners:
                listener.wake(reply[2])
        elif kind == b"subscribe":
            # A channel left and entered again at once is open only when the last of its commands is confirmed.
            self._owed[key] -= 1
            if not self._owed[key]:
                del self._owed[key]
                if channel is not None:
                    channel.open.set()


async def _opened(channel: _Channel, name: str) -> None:
    if channel.open.is_set():
        return
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await channel.open.wait()
    except TimeoutError:
        raise Unavailable(f"listening to {name}: the store does not answer") from None


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task that uses the client, and return when it has ended."""
    # More than once: before Python 3.12 `asyncio.wait_for`, which the client uses, can swallow a cancellation.
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
