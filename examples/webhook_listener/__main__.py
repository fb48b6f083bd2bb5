"""`WEBHOOK_SECRET=whsec_… ./dev demo listen [PORT]`: shows the webhooks that come to a port of 127.0.0.1, once each."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from examples.webhook_listener.server import Listener, serving
from examples.webhook_listener.signature import NotGenuine

PORT = 9100


def main() -> int:
    """Listen until Ctrl-C; 2 without a secret, or with a port that is none."""
    secret, port = os.environ.get("WEBHOOK_SECRET", ""), (sys.argv[1:] or [str(PORT)])[0]
    if not port.isdecimal():
        sys.stderr.write(f"{port!r} is no port.\n")
        return 2
    try:
        listener = Listener(secret, time.time, _say)
        asyncio.run(_listen(listener, int(port)))
    except NotGenuine as error:
        sys.stderr.write(f"WEBHOOK_SECRET: {error} `apx webhook create` shows it once.\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def _listen(listener: Listener, port: int) -> None:
    async with serving(listener, port) as at:
        _say(f"listening on http://127.0.0.1:{at}/")
        await asyncio.Event().wait()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
