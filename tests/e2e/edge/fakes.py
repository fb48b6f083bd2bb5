"""A router and a backend that record what reaches them, on an event loop of their own thread."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import WSMsgType, web

T = TypeVar("T")
PROBLEM = "application/problem+json"


class Seen(msgspec.Struct, frozen=True):
    """One request, as it reached a fake."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None


class LoopThread:
    """An event loop in a thread, so that tests stay plain functions."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], within_s: float = 30.0) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within_s)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


class Fake(ABC):
    """A server that records each request before it answers."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{rest:.*}", self._record)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        self.port = 0

    async def listen(self, socket: Path | None = None) -> None:
        await self._runner.setup()
        if socket is not None:
            await web.UnixSite(self._runner, str(socket)).start()
            return
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _record(self, request: web.Request) -> web.StreamResponse:
        headers = tuple((k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in request.raw_headers)
        upgrade = request.headers.get("upgrade", "").lower() == "websocket"
        body = b"" if upgrade else await request.read()
        self.seen.append(Seen(request.method, request.raw_path, headers, body))
        return await self.answer(request)

    @abstractmethod
    async def answer(self, request: web.Request) -> web.StreamResponse: ...


class FakeRouter(Fake):
    """Admits by the API key: `good`, `held` (until `let_go`), `deny`, `slow`, `crash`; answers all else with 202.

    `arms` says of further keys whom they are admitted to: key → (arm, release).
    """

    def __init__(self) -> None:
        super().__init__()
        self.arms: dict[str, tuple[str, str]] = {}
        self._held = asyncio.Event()

    async def let_go(self) -> None:
        """Answer what is held, and from now on at once."""
        self._held.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if not request.path.startswith("/-/admit"):
            if key == "slow":
                await asyncio.sleep(5)
            if key == "held":
                await self._held.wait()
            return web.json_response({"by": "router"}, status=202, headers={"x-from": "router"})
        if key == "slow":
            await asyncio.sleep(5)
        if key == "held":
            await self._held.wait()
        if key == "crash":
            return web.Response(status=500, text="stack trace of the router")
        if key == "deny":
            body = msgspec.json.encode({"code": "policy-says-no", "status": 403, "request_id": "the-router's"})
            headers = {"content-type": PROBLEM, "retry-after": "7", "ratelimit": '"plan";r=0;t=7'}
            return web.Response(status=403, body=body, headers=headers)
        if key not in ("good", "held", *self.arms):
            body = msgspec.json.encode({"code": "unauthenticated", "status": 401})
            return web.Response(status=401, body=body, headers={"content-type": PROBLEM, "www-authenticate": "Bearer"})
        headers = {
            "x-tier": "gold",
            "tenant-tier": "pro",
            "ratelimit": '"plan";r=9;t=1',
            "ratelimit-policy": '"plan";q=10;w=1',
            "x-apx-org": "acme",
            "x-apx-product": request.path.split("/")[3],
            "x-envoy-auth-headers-to-remove": "authorization,x-api-key,cookie",
        }
        if key in self.arms:
            headers["x-apx-arm"], headers["x-apx-release"] = self.arms[key]
        return web.Response(status=200, headers=headers)


class FakeBackend(Fake):
    """Streams, upgrades, stalls and hands out keys when asked; else says that it was here."""

    jwks = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/socket"):
            return await _echo(request)
        if request.path.endswith("/events"):
            return await _events(request)
        if request.path == "/jwks":
            return web.Response(text=self.jwks, content_type="application/json")
        if request.path.endswith("/stall"):
            await asyncio.sleep(10)
        if request.path.endswith(("/fault", "/gone")):
            return web.Response(status=500 if request.path.endswith("/fault") else 404)
        return web.json_response({"by": "backend"}, headers={"x-from": "backend", "server": "secret-backend/1.0"})


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(f"echo {message.data}")
    return socket


async def _events(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    for number in range(3):
        await answer.write(b"data: %d\n\n" % number)
        await asyncio.sleep(0.2)
    return answer
