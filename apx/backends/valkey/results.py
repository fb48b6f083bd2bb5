"""Results on Valkey: `apx.requests.ports.ResultStore`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, cast

import msgspec
from valkey.asyncio import Valkey

from apx.backends.valkey.batching import Batcher
from apx.backends.valkey.bus import REMEMBERED_S, kept_ms
from apx.backends.valkey.connection import Script
from apx.backends.valkey.log import Log
from apx.backends.valkey.notices import Notices
from apx.requests.model import Event, Progress, Result

MOST_EVENTS = 1000
"""Entries of one request's stream; the oldest go first."""
EVENTS_TTL_S = 3600
"""How long a stream can be resumed after its last entry."""
_PAGE = 200
_LOOK_S = 30.0
_EVENT_ID = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")

_encode = msgspec.msgpack.Encoder().encode
_result = msgspec.msgpack.Decoder(Result).decode


class ValkeyResults:
    """The results that one process reads and writes."""

    def __init__(self, client: Valkey, *, notices: Notices | None = None, journaled: bool = False) -> None:
        """Share `notices` with the bus of the same process. `journaled`: results are kept elsewhere too."""
        self._notices = notices or Notices(client)
        self._most_s = REMEMBERED_S if journaled else None
        self._read = Script(client, "read", prelude="lanes")
        self._conclude = Script(client, "conclude", prelude="lanes", log=None if journaled else Log(client))
        self._append = Script(client, "append", prelude="lanes")
        self._follow = Script(client, "follow", prelude="lanes")
        # What was read is understood by who asked: one that cannot be is nobody else's fault.
        self._reading: Batcher[str, tuple[bytes | None, bytes | None]] = Batcher(self._read_batch, most=128)
        self._concluding: Batcher[Result, bytes | None] = Batcher(
            self._conclude_batch, most=128, size=lambda result: len(result.body)
        )
        self._appending: Batcher[tuple[str, str, str], None] = Batcher(
            self._append_batch, most=128, size=lambda entry: len(entry[2])
        )

    async def get(self, request_id: str) -> Result | Progress | None:
        """Return the result, else the progress, else None."""
        result, progress = await self._reading(request_id)
        return _stored(result) if result else _progress(progress)

    async def wait(self, request_id: str, timeout_s: float) -> Result | Progress | None:
        """Return the result as soon as it is there, or what is known after `timeout_s`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        async with self._notices.listen(f"apx:n:{request_id}") as listener:
            while True:
                found = await self.get(request_id)
                left_s = end - loop.time()
                if isinstance(found, Result) or left_s <= 0:
                    return found
                await listener.wait(left_s)

    async def put_if_absent(self, result: Result) -> Result:
        """Write a terminal state unless there is one; return the one that stands."""
        standing = await self._concluding(result)
        return _stored(standing) if standing else result

    async def append_event(self, request_id: str, kind: Literal["chunk", "restart"], data: str) -> None:
        """Add to the request's event stream; nothing is added after its result."""
        await self._appending((request_id, kind, data))

    async def events(self, request_id: str, after: str = "") -> AsyncIterator[Event]:
        """Yield the stream and the states, in order, until the terminal state."""
        cursor = _position(after)
        if cursor == _END:
            return
        async with self._notices.listen(f"apx:n:{request_id}") as listener:
            while True:
                entries, result, progress = await self._follow.repeat(request_id, _start(cursor), _PAGE)
                whole = len(entries) < _PAGE
                for place, event in _merge(entries, result, progress, whole=whole):
                    if place > cursor:
                        cursor = place
                        yield event
                if cursor == _END:
                    return
                if whole:
                    await listener.wait(_LOOK_S)

    async def aclose(self) -> None:
        """Stop listening; the client stays open."""
        for batcher in (self._reading, self._concluding, self._appending):
            await batcher.aclose()
        await self._notices.aclose()

    async def _read_batch(self, ids: Sequence[str]) -> list[tuple[bytes | None, bytes | None]]:
        found = await self._read.repeat(*ids)
        return list(zip(found[::2], found[1::2], strict=True))

    async def _conclude_batch(self, results: Sequence[Result]) -> list[bytes | None]:
        args = [part for r in results for part in (r.id, _encode(r), kept_ms(r, self._most_s))]
        return cast("list[bytes | None]", await self._conclude.repeat(*args))

    async def _append_batch(self, entries: Sequence[tuple[str, str, str]]) -> list[None]:
        await self._append(MOST_EVENTS, EVENTS_TTL_S * 1000, *(part for entry in entries for part in entry))
        return [None] * len(entries)


def _stored(value: bytes) -> Result:
    return _result(value.partition(b"\n")[2])


def _progress(value: bytes | None) -> Progress | None:
    if not value:
        return None
    started, _, attempt = value.decode().partition(":")
    if started == "0":
        return Progress(state="accepted", attempt=int(attempt))
    return Progress(state="running", started_ms=int(started), attempt=int(attempt))


# A place in a request's events: (ms, number in the ms). The start of an attempt comes before the entries of its ms,
# the terminal state after all.
_Place = tuple[float, int]
_BEGIN: _Place = (0, -1)
_END: _Place = (float("inf"), 0)


def _position(event_id: str) -> _Place:
    """Read an event's id; one that is not ours begins at the beginning."""
    if event_id == "end":
        return _END
    match = _EVENT_ID.fullmatch(event_id)
    return (int(match[1]), int(match[2] or -1)) if match else _BEGIN


def _start(cursor: _Place) -> str:
    return f"{int(cursor[0])}-{cursor[1] + 1}"


def _merge(
    entries: Sequence[Any], result: bytes | None, progress: bytes | None, *, whole: bool
) -> list[tuple[_Place, Event]]:
    merged: list[tuple[_Place, Event]] = []
    for raw_id, (kind, data) in entries:
        entry = raw_id.decode()
        merged.append((_position(entry), Event(id=entry, kind=kind.decode(), data=data.decode())))
    now = _progress(progress)
    if now is not None and now.started_ms is not None:
        place = (now.started_ms, -1)
        # Further on than this page, it waits for the page that it belongs to.
        if whole or place < merged[-1][0]:
            merged.append((place, _state(str(now.started_ms), "running", attempt=now.attempt)))
            merged.sort(key=lambda placed: placed[0])
    if result and whole:
        merged.append((_END, _state("end", _stored(result).state)))
    return merged


def _state(event_id: str, state: str, **more: int) -> Event:
    return Event(id=event_id, kind="state", data=json.dumps({"state": state, **more}))
