"""A receiver of webhooks that shows what comes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from examples.webhook_listener.signature import NotGenuine, check, key_of

MOST_KNOWN = 10_000


class Listener:
    """Answers 204 to what is genuine, 401 to the rest; shows a message the first time that it comes."""

    def __init__(self, secret: str, now_s: Callable[[], float], say: Callable[[str], None]) -> None:
        """Raise `NotGenuine` for a secret that is none."""
        self._key = key_of(secret)
        self._now_s = now_s
        self._say = say
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one message."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            message = check(headers, body, self._key, self._now_s())
        except NotGenuine as error:
            self._say(f"refused: {error}")
            return web.Response(status=401, text=str(error))
        if message not in self._seen:
            self._remember(message)
            self._say(f"{message} {body.decode('utf-8', 'replace')}")
        return web.Response(status=204)

    def _remember(self, message: str) -> None:
        self._seen[message] = None
        if len(self._seen) > MOST_KNOWN:
            self._seen.popitem(last=False)


@asynccontextmanager
async def serving(listener: Listener, port: int = 0) -> AsyncIterator[int]:
    """Serve on 127.0.0.1 while the context is open; yields the port (a free one for 0)."""
    server = web.Server(listener.answer, access_log=None)
    opened = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
    try:
        yield opened.sockets[0].getsockname()[1]
    finally:
        opened.close()
        await server.shutdown(0.2)
        await opened.wait_closed()
