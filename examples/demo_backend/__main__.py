"""`python -m examples.demo_backend [--port N] [--host ADDRESS] [--record FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from examples.demo_backend.record import Record
from examples.demo_backend.server import serving

DEFAULT_PORT = 8090


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo_backend", description=__doc__)
    port = int(os.environ.get("APX_DEMO_PORT", DEFAULT_PORT))
    parser.add_argument("--port", type=int, default=port, help="0 takes a free one (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="another address, inside a container")
    parser.add_argument("--record", type=Path, help="keep the record in this file too, across restarts")
    arguments = parser.parse_args()
    record = Record(arguments.record)
    uvloop.run(_serve(arguments.host, arguments.port, record))
    record.close()


async def _serve(host: str, port: int, record: Record) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(port, record, host) as bound:
        sys.stdout.write(f"demo backend listening on http://{host}:{bound}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    main()
