"""One channel of the store, listened to for as long as somebody wants to hear, with a dead connection noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from valkey.asyncio import Valkey

from apx.backends.valkey.connection import unavailable
from apx.errors import Unavailable

_PING_EVERY_S = 2.0


async def listen(client: Valkey, channel: str) -> AsyncIterator[bytes | None]:
    """Yield each message; None once it is subscribed and every two seconds without one, while the server answers.

    Raises `Unavailable` when the connection is lost or silent for two pings: what was said meanwhile is lost, so a
    caller starts again from what the store holds.
    """
    with unavailable(f"listening on {channel}"):
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(channel)
            answered = True
            while True:
                message = await pubsub.get_message(timeout=_PING_EVERY_S)
                if message is None:
                    if not answered:
                        raise Unavailable(f"listening on {channel}: the store has gone silent")
                    answered = False
                    await pubsub.ping()
                elif message["type"] == "message":
                    answered = True
                    yield message["data"]
                else:
                    answered = True
                    yield None
