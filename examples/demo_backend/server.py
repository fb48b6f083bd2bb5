"""The demo backend's server: each request is recorded, may misbehave as asked, and is answered by its product."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from examples.demo_backend.behaviour import Cut, Tries, dripped, fails, wish_of
from examples.demo_backend.products import handler_of
from examples.demo_backend.record import Entry, Record

RECORD_PATH = "/_demo/record"
PAGE = 10_000
"""Entries in one page of the record, unless `limit` asks for fewer or more."""
MOST_PER_PAGE = 200_000
MAX_BODY_BYTES = 64 * 1024 * 1024


@asynccontextmanager
async def serving(port: int = 0, record: Record | None = None, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve while the context is open; yields the port (a free one for 0)."""
    backend = DemoBackend(record or Record())
    server = web.Server(
        backend.answer,
        request_factory=_request,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
    )
    listener = await asyncio.get_running_loop().create_server(server, host, port, backlog=1024)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.shutdown(0.2)
        await listener.wait_closed()


class DemoBackend:
    """One handler for every request."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._tries = Tries()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; only the record's own requests are not recorded."""
        if request.path == RECORD_PATH:
            return self._record_answer(request)
        entry = self._record.begin(request.method, request.path, request.query_string, tuple(request.raw_headers))
        try:
            response = await self._recorded(request, entry)
        except asyncio.CancelledError:
            self._record.end(entry, "cancelled")
            raise
        except ConnectionError:
            self._record.end(entry, "cancelled")
            raise
        if isinstance(response, Cut):
            self._record.end(entry, "closed")
        else:
            self._record.end(entry, "finished", response.status)
        return response

    async def _recorded(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        body = b""
        if request.body_exists:
            body = await request.read()
            self._record.body(entry, body)
        try:
            wish = wish_of(request)
        except msgspec.ValidationError as error:
            return web.json_response({"error": str(error)}, status=400)
        answer = await fails(request, wish, self._tries)
        if answer is None:
            answer = await handler_of(request.path)(request, body)
        if wish.drip and isinstance(answer, web.Response):
            return await dripped(request, answer, wish.drip)
        return answer

    def _record_answer(self, request: web.BaseRequest) -> web.Response:
        if request.method == "DELETE":
            self._record.clear()
            return web.Response(status=204)
        since = int(request.query.get("since", 0))
        limit = min(int(request.query.get("limit", PAGE)), MOST_PER_PAGE)
        return web.Response(body=self._record.page(since, limit), content_type="application/jsonl")


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)
