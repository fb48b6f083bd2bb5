"""Usage events on Valkey: `apx.usage.events.UsageLog`. `settle.lua` writes them in the step that writes the result.

The stream `apx:usage` holds what some reader has not forgotten; `apx:usage:read` maps a reader to where it has come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import cast

import msgspec
import structlog
from valkey.asyncio import Valkey

from apx.backends.valkey.connection import Script, unavailable
from apx.requests.model import Result
from apx.usage.events import READERS, Accepted, Page, Reader, UsageEvent, event_of

STREAM, READ = "apx:usage", "apx:usage:read"
_ENTRIES = 100
"""Read at once. An entry has the events of one script, 500 at most."""
_log = structlog.get_logger(__name__)
_event = msgspec.msgpack.Decoder(UsageEvent).decode
_accepted = msgspec.msgpack.Decoder(Accepted).decode
_result = msgspec.msgpack.Decoder(Result).decode


class ValkeyUsage:
    """The stream of events, as one reader sees it."""

    def __init__(self, client: Valkey, reader: Reader = "files") -> None:
        self._client = client
        self._reader = reader
        self._forget = Script(client, "usage")

    async def waiting(self, limit: int) -> Page | None:
        """Return the oldest events; None when there are none."""
        entries: list[tuple[bytes, dict[bytes, bytes]]] = []
        events: list[UsageEvent] = []
        with unavailable("reading usage"):
            read = await cast("Awaitable[bytes | None]", self._client.hget(READ, self._reader))
        while len(events) < limit:
            begin = entries[-1][0] if entries else read
            after = f"({begin.decode()}" if begin else "-"
            with unavailable("reading usage"):
                more = await self._client.xrange(STREAM, min=after, count=_ENTRIES)
            entries += more
            events += [event for _, fields in more for event in _read(fields)]
            if len(more) < _ENTRIES:
                break
        if not entries:
            return None
        first, last = entries[0][0].decode(), entries[-1][0].decode()
        return Page(name=f"{first}_{last}", events=events, positions=(last,))

    async def forget(self, page: Page) -> None:
        """Go on behind the page; drop what every reader has behind it."""
        await self._forget.repeat(self._reader, page.positions[-1], *READERS)


def _read(fields: dict[bytes, bytes]) -> Iterator[UsageEvent]:
    request: Accepted | None = None
    for name, value in fields.items():
        try:
            if name.startswith(b"e"):
                yield _event(value)
            elif name.startswith(b"c"):
                request = _accepted(value)
            elif request is not None:
                yield event_of(request, _result(value.partition(b"\n")[2]))
        except msgspec.MsgspecError:
            # Another version's: it must not keep all the others from their files. It is told, as it is not counted.
            _log.exception("usage.unreadable", field=name.decode(errors="replace"))
