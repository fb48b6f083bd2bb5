"""The few ASGI types that the hot path uses, and how it reads and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]


_MOST_DIGITS = 19
"""Of a length that fits 63 bits."""


class BodyTooLarge(Exception):
    """More bytes than the route takes."""


class ClientGone(Exception):
    """The client went away before its body was whole, or while it was waiting."""


class KeyEnded(Exception):
    """The caller's key was revoked or expired while it was waiting."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One whole answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    code: str = ""
    """The problem's code, for the log and the metrics."""


async def read_body(receive: Receive, headers: Mapping[str, str], most_bytes: int) -> bytes:
    """Return the whole body.

    Raises `BodyTooLarge` where it is declared too long, or as soon as it is one byte too long; `ClientGone`.
    """
    declared = headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > _MOST_DIGITS or int(declared) > most_bytes):
        raise BodyTooLarge
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if len(body) > most_bytes:
        raise BodyTooLarge
    if not message.get("more_body", False):
        return body
    parts = bytearray(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts += message.get("body", b"")
        if len(parts) > most_bytes:
            raise BodyTooLarge
    return bytes(parts)


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone; of a request whose body was read or is not wanted."""
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def racing(*awaited: Awaitable[Any]) -> AsyncIterator[tuple[asyncio.Future[Any], ...]]:
    """Start all and wait for the first of them; at the end those still under way are stopped."""
    futures = tuple(map(asyncio.ensure_future, awaited))
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        yield futures
    finally:
        for one in futures:
            one.cancel()
        await asyncio.gather(*futures, return_exceptions=True)


async def unless_gone(awaited: Awaitable[T], receive: Receive) -> T:
    """Return what is awaited. Raises `ClientGone`, and stops waiting, when nobody is there to hear it any more."""
    async with racing(awaited, disconnected(receive)) as (waiting, _):
        if waiting.done():
            result: T = waiting.result()
            return result
        raise ClientGone


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a whole answer with its length."""
    headers = encode(reply.headers)
    headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def encode(headers: Iterable[tuple[str, str]]) -> HeaderList:
    """Return header fields as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def decode_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str] | None:
    """Return header fields by lower-case name, or None when one that names the caller stands twice."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name = _NAMES.get(raw_name) or _named(raw_name)
        if name in fields:
            if name in _ONCE:
                return None
            fields[name] += ", " + raw_value.decode("latin-1")
        else:
            fields[name] = raw_value.decode("latin-1")
    return fields


def _named(raw_name: bytes) -> str:
    name = raw_name.decode("latin-1")
    if len(_NAMES) < _MOST_NAMES and len(raw_name) < _MOST_NAME_BYTES:
        _NAMES[raw_name] = name
    return name


_NAMES: dict[bytes, str] = {}
_MOST_NAMES, _MOST_NAME_BYTES = 1024, 64
"""Names that came before are not decoded again."""


def only(pairs: Iterable[tuple[bytes, bytes]], wanted: bytes) -> dict[str, str]:
    """Return one field of a request whose fields cannot be decoded as a whole."""
    return decode_headers(pair for pair in pairs if pair[0] == wanted) or {}


_ONCE = frozenset({"authorization", "x-api-key", "idempotency-key", "content-type", "x-apx-jwt-payload", "host"})
