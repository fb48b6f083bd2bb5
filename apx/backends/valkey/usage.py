"""Usage events on Valkey: `apx.usage.events.UsageLog`. `settle.lua` writes them in the step that writes the result."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import structlog
from valkey.asyncio import Valkey

from apx.backends.valkey.connection import unavailable
from apx.requests.model import Result
from apx.usage.events import Accepted, Page, UsageEvent, event_of

STREAM = "apx:usage"
_ENTRIES = 100
"""Read at once. An entry has the events of one script, 500 at most."""
_log = structlog.get_logger(__name__)
_event = msgspec.msgpack.Decoder(UsageEvent).decode
_accepted = msgspec.msgpack.Decoder(Accepted).decode
_result = msgspec.msgpack.Decoder(Result).decode


class ValkeyUsage:
    """The stream of events that are not in files yet."""

    def __init__(self, client: Valkey) -> None:
        self._client = client

    async def waiting(self, limit: int) -> Page | None:
        """Return the oldest events; None when there are none."""
        entries: list[tuple[bytes, dict[bytes, bytes]]] = []
        events: list[UsageEvent] = []
        while len(events) < limit:
            after = f"({entries[-1][0].decode()}" if entries else "-"
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
        """Drop what is not newer than the page."""
        moment, _, number = page.positions[-1].partition("-")
        with unavailable("trimming usage"):
            await self._client.xtrim(STREAM, minid=f"{moment}-{int(number) + 1}", approximate=False)


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
