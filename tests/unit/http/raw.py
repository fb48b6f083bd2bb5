"""A server that answers every request with the same bytes, right or wrong, and remembers what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from apx.requests.execution_call import BackendRequest


class RawServer:
    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[RawServer]:
    raw = RawServer(answer)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.port = server.sockets[0].getsockname()[1]
    async with server:
        yield raw


def request_to(url: str, **fields: Any) -> BackendRequest:
    values: dict[str, Any] = {
        "method": "GET",
        "url": url,
        "headers": (),
        "body": b"",
        "timeout_s": 3.0,
        "connect_timeout_s": 1.0,
        "max_response_bytes": 1_000_000,
        "allow_private": True,
    }
    return BackendRequest(**(values | fields))
