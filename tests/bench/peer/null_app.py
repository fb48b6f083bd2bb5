"""An ASGI application that does nothing, served as the router is: `python -m tests.bench.peer.null_app SOCKET`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import uvicorn

from services.router.__main__ import _config, uvicorn_loop
from services.router.app import Router
from services.router.asgi import Receive, Scope, Send
from services.router.settings import RouterSettings

_ANSWER = b'{"state":"accepted"}'
_START: dict[str, Any] = {
    "type": "http.response.start",
    "status": 202,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))],
}
_BODY: dict[str, Any] = {"type": "http.response.body", "body": _ANSWER}


async def nothing(_: Scope, receive: Receive, send: Send) -> None:
    """Read the request, answer 202."""
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)


def main() -> None:
    """Serve until SIGTERM."""
    settings = RouterSettings(router_socket=Path(sys.argv[1]))
    uvicorn_loop().run(uvicorn.Server(_config(cast("Router", nothing), settings)).serve())


if __name__ == "__main__":
    main()
