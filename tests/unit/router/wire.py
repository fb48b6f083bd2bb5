"""A client that speaks HTTP/1.1 to the router, as the edge does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from services.router.door import protocol_of
from tests.unit.router.desk import Desk


class Wire(asyncio.Transport):
    """The edge's end of one connection."""

    def __init__(self, desk: Desk, fields: str = "") -> None:
        super().__init__()
        self.got = b""
        self._fields = fields
        config = uvicorn.Config(
            desk.router, http=protocol_of(desk.door), ws="none", lifespan="off", log_config=None, access_log=False
        )
        config.load()
        kind: Any = config.http_protocol_class
        self._protocol: asyncio.Protocol = kind(config=config, server_state=ServerState(), app_state={})
        self._protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.got += bytes(data)

    def send(
        self,
        key: str,
        path: str = "/orders?a=1",
        *,
        method: str = "POST",
        body: bytes = b"{}",
        name: str = "r-1",
    ) -> None:
        head = f"{method} {path} HTTP/1.1\r\nhost: a\r\nx-request-id: {name}\r\nx-api-key: {key}\r\n"
        self._protocol.data_received(f"{head}{self._fields}content-length: {len(body)}\r\n\r\n".encode() + body)

    async def answer(self, key: str, path: str = "/orders?a=1") -> tuple[int, Any]:
        self.got = b""
        self.send(key, path)
        async with asyncio.timeout(5):
            while not self.got.endswith(b"}"):  # noqa: ASYNC110 -- bytes, no event
                await asyncio.sleep(0)
        head, _, body = self.got.partition(b"\r\n\r\n")
        return int(head[9:12]), json.loads(body)

    def get_extra_info(self, _: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        raise AssertionError("the edge's connections stay")
