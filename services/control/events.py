"""Changes of rollouts as server-sent events: `id` is a position, `event` the action, `data` the audit entry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, ClassVar

import msgspec
from fastapi.responses import StreamingResponse

from apx.errors import Unavailable
from apx.rollout.active import AuditEntry, RolloutStore

MOST_STREAMS = 100
HEARTBEAT_S = 15.0
_FIELDS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Events:
    """Streams of one store's changes."""

    DESCRIBED: ClassVar[dict[int | str, dict[str, Any]]] = {
        200: {"description": "a stream without an end", "content": {"text/event-stream": {}}}
    }

    def __init__(self, store: RolloutStore) -> None:
        self._store = store
        self._open = 0

    def stream(self, after: str) -> StreamingResponse:
        """Return a stream from after a position, or from now. Raises `Unavailable` when too many are open."""
        if self._open >= MOST_STREAMS:
            raise Unavailable(f"{self._open} event streams are open already: close one, or try again later")
        return StreamingResponse(self.lines(after), media_type="text/event-stream", headers=_FIELDS)

    async def lines(self, after: str) -> AsyncGenerator[bytes, None]:
        """Yield what a stream consists of."""
        self._open += 1
        feed = self._store.events(after)
        upcoming: asyncio.Future[tuple[str, AuditEntry]] | None = None
        try:
            yield b": from here on\n\n"
            while True:
                upcoming = upcoming or asyncio.ensure_future(anext(feed))
                done, _ = await asyncio.wait({upcoming}, timeout=HEARTBEAT_S)
                if not done:
                    yield b": nothing new\n\n"
                    continue
                position, entry = upcoming.result()
                upcoming = None
                yield _event(position, entry)
        except (Unavailable, StopAsyncIteration):
            return  # the client comes again, with the last position that it got
        finally:
            self._open -= 1
            if upcoming is not None:
                upcoming.cancel()
                with suppress(asyncio.CancelledError, Unavailable, StopAsyncIteration):
                    await upcoming


def _event(position: str, entry: AuditEntry) -> bytes:
    data = msgspec.json.encode({"product": entry.product, **msgspec.to_builtins(entry)})
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (position.encode(), entry.action.encode(), data)
