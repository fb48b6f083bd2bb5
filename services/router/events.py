"""A request's events as a client follows them: server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import msgspec

from apx.errors import Unavailable
from apx.requests.model import TERMINAL, Event, Result
from services.router.asgi import HeaderList, Receive, Send, disconnected

FIELDS: HeaderList = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
SIGN_OF_LIFE_S = 4.0
"""How often a stream shows that it lives, and asks whether its key still does: a revoked one streams no longer."""
_LINE_END = re.compile(r"\r\n|\r|\n")


async def follow(
    events: AsyncIterator[Event],
    allowed: Callable[[], Awaitable[bool]],
    forbidden: Coroutine[None, None, None],
    receive: Receive,
    send: Send,
) -> None:
    """Send events until they end, the client goes, or it may not hear them any longer. Raises what `events` raises.

    It is asked now and then whether it is `allowed`; when `forbidden` returns, the stream ends at once.
    """
    stream, stopped = asyncio.ensure_future(_stream(events, allowed, send)), asyncio.ensure_future(forbidden)
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        done, _ = await asyncio.wait({stream, stopped, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in (stream, stopped, gone):
            one.cancel()
        await asyncio.gather(stream, stopped, gone, return_exceptions=True)
    if stream in done:
        stream.result()
    elif stopped in done:
        await send({"type": "http.response.body", "body": b""})


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


async def _stream(events: AsyncIterator[Event], allowed: Callable[[], Awaitable[bool]], send: Send) -> None:
    try:
        async for event in _with_signs_of_life(events, allowed):
            await send({"type": "http.response.body", "body": _sse(event), "more_body": True})
    except Unavailable:
        await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _with_signs_of_life(
    events: AsyncIterator[Event], allowed: Callable[[], Awaitable[bool]]
) -> AsyncIterator[Event | None]:
    """Yield the events, and None where there was none for long; end when it is no longer `allowed`."""
    now = asyncio.get_running_loop().time
    due = now() + SIGN_OF_LIFE_S
    upcoming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=max(0.0, due - now()))
            if now() >= due:  # a busy stream is asked as often as a quiet one
                if not await allowed():
                    return
                due = now() + SIGN_OF_LIFE_S
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
