"""Faults on demand: what a request asks this backend to do wrong, by header or by query parameter of the same name."""

from __future__ import annotations

import asyncio
import zlib
from functools import cache

import msgspec
from aiohttp import web

PREFIX = "x-demo-"
PIECE = bytes(65_536)
ENDLESS_PIECES = 160_000
"""Ten gigabytes: endless for any reader with a cap, and still bounded."""
BOMB_BYTES = 256 * 1024 * 1024
"""What the gzip bomb becomes when it is unpacked, unless `x-demo-size` says otherwise."""
HANG_S = 3600.0
FORGET_AFTER = 100_000
"""Most request ids whose failures are counted."""


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one request asks for; the defaults ask for nothing."""

    delay_ms: float = 0
    fail: str = ""
    """`STATUS[,TIMES]` or `close[,TIMES]`: fail the first TIMES tries of this request (all tries without TIMES)."""
    retry_after: str = ""
    """Value of `Retry-After` on such a failure."""
    drip: float = 0
    """Milliseconds between the body's bytes."""
    size: int = 0
    """Bytes of body, in place of the product's own."""
    hang: str = ""
    """`head`: never answer; `body`: send the head and no body."""
    close: str = ""
    """`head`: close without an answer; `body`: close in the middle of the body."""
    bomb: str = ""
    """`gzip`: small on the wire, large unpacked; `endless`: never ends."""


NOTHING = Wish()


class Tries:
    """How often each request id was tried."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def next(self, request_id: str) -> int:
        """Count one more try of `request_id`; return its number, 1 for the first."""
        self._seen[request_id] = n = self._seen.pop(request_id, 0) + 1
        if len(self._seen) > FORGET_AFTER:
            del self._seen[next(iter(self._seen))]
        return n


def wish_of(request: web.BaseRequest) -> Wish:
    """Read the wish of `request`. Raises `msgspec.ValidationError` for a value of the wrong kind."""
    found = {_field(k): v for k, v in request.headers.items() if k.lower().startswith(PREFIX)}
    if PREFIX in request.query_string:
        found |= {_field(k): v for k, v in request.query.items() if k.startswith(PREFIX)}
    return msgspec.convert(found, Wish, strict=False) if found else NOTHING


async def fails(request: web.BaseRequest, wish: Wish, tries: Tries) -> web.StreamResponse | None:
    """Answer with what `wish` asks for, or None when the product itself shall answer."""
    if wish.delay_ms:
        await asyncio.sleep(wish.delay_ms / 1000)
    if wish.fail and (failure := _failure(request, wish, tries)):
        return failure
    if wish.hang:
        await _hang(request, wish)
    if wish.close:
        return await _close(request, wish)
    if wish.bomb == "gzip":
        packed = await asyncio.to_thread(_gzip_bomb, wish.size or BOMB_BYTES)
        return web.Response(body=packed, headers={"content-encoding": "gzip", "content-type": "application/json"})
    if wish.bomb:
        return await _endless(request)
    if wish.size:
        return web.Response(body=b"x" * wish.size, content_type="application/octet-stream")
    return None


async def dripped(request: web.BaseRequest, whole: web.Response, drip_ms: float) -> web.StreamResponse:
    """Answer with `whole`, its body byte by byte."""
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers={"content-type": whole.headers["content-type"]})
    response.content_length = len(body)
    await response.prepare(request)
    for i in range(len(body)):
        await asyncio.sleep(drip_ms / 1000)
        await response.write(body[i : i + 1])
    return response


class Cut(web.Response):
    """What is returned once the connection has been cut on purpose: nobody gets it."""


def _field(name: str) -> str:
    return name[len(PREFIX) :].lower().replace("-", "_")


def _failure(request: web.BaseRequest, wish: Wish, tries: Tries) -> web.Response | None:
    what, _, times = wish.fail.partition(",")
    if times and tries.next(request.headers.get("idempotency-key", "")) > int(times):
        return None
    if what == "close":
        return _cut(request)
    headers = {"retry-after": wish.retry_after} if wish.retry_after else None
    return web.json_response({"error": "asked for"}, status=int(what), headers=headers)


async def _hang(request: web.BaseRequest, wish: Wish) -> None:
    if wish.hang == "body":
        await web.StreamResponse().prepare(request)
    await asyncio.sleep(HANG_S)


async def _close(request: web.BaseRequest, wish: Wish) -> Cut:
    if wish.close == "body":
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(request)
        await response.write(b"half of ")
        await asyncio.sleep(0.05)  # so that the first half leaves before the reset
    return _cut(request)


def _cut(request: web.BaseRequest) -> Cut:
    if request.transport is not None:
        request.transport.abort()
    return Cut()


@cache
def _gzip_bomb(size_bytes: int) -> bytes:
    packer = zlib.compressobj(level=9, wbits=31)
    return b"".join(packer.compress(PIECE) for _ in range(size_bytes // len(PIECE))) + packer.flush()


async def _endless(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/octet-stream"})
    await response.prepare(request)
    for _ in range(ENDLESS_PIECES):
        await response.write(PIECE)
    return response
