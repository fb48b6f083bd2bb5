"""A request's events as a client follows them: server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable

import msgspec

from apx.errors import Unavailable
from apx.requests.model import TERMINAL, Event, Result
from services.router.asgi import HeaderList, Receive, Send, disconnected, racing

FIELDS: HeaderList = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
SIGN_OF_LIFE_S = 4.0
"""How often a stream shows that it lives."""
_LINE_END = re.compile(r"\r\n|\r|\n")


async def follow(events: AsyncIterator[Event], barred: Awaitable[bytes], receive: Receive, send: Send) -> bool:
    """Send events until they end or the client goes; False when the caller was `barred` from hearing more.

    Then what that returned, a problem in one line of JSON, is the last event. Raises what `events` raises.
    """
    async with racing(_stream(events, send), disconnected(receive), barred) as (stream, _, over):
        has_ended, is_barred = stream.done(), over.done()
    if has_ended:
        stream.result()
    elif is_barred:
        problem = b"event: problem\ndata: %b\n\n" % over.result()
        await send({"type": "http.response.body", "body": problem, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return False
    return True


async def ending_with(events: AsyncIterator[Event], result: Result) -> AsyncIterator[Event]:
    """Yield what was recorded, and be sure to end with the state: the stream may be kept shorter than the result."""
    async for event in events:
        yield event
        if event.kind == "state" and msgspec.json.decode(event.data).get("state") in TERMINAL:
            return
    yield _final(result)


async def only_end(result: Result) -> AsyncIterator[Event]:
    """Yield the final state alone: of a request that left no events."""
    yield _final(result)


def _final(result: Result) -> Event:
    return Event(id="", kind="state", data=msgspec.json.encode({"state": result.state}).decode())


async def _stream(events: AsyncIterator[Event], send: Send) -> None:
    try:
        async for event in _with_signs_of_life(events):
            await send({"type": "http.response.body", "body": _sse(event), "more_body": True})
    except Unavailable:
        await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _with_signs_of_life(events: AsyncIterator[Event]) -> AsyncIterator[Event | None]:
    """Yield the events, and None where there was none for long."""
    upcoming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=SIGN_OF_LIFE_S)
            if not done:
                yield None
                continue
            event = upcoming.result()
            if event is None:
                return
            yield event
            upcoming = asyncio.ensure_future(anext(events, None))
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)


def _sse(event: Event | None) -> bytes:
    """Write one event; None is a comment. Data ends its lines as the format does, so that no other character may."""
    if event is None:
        return b":\n\n"
    lines = [f"id: {event.id}"] if event.id else []
    lines.append(f"event: {event.kind}")
    lines += [f"data: {line}" for line in _LINE_END.split(event.data)]
    return ("\n".join(lines) + "\n\n").encode()
