"""A collector process: `argv` is the store's URL and the folder of the files. It looks all the time."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from apx.backends.files.usage import UsageFiles
from apx.backends.valkey.connection import connect
from apx.backends.valkey.usage import ValkeyUsage
from apx.usage.collect import Collector


async def main(url: str, folder: Path) -> None:
    await Collector(ValkeyUsage(connect(url)), UsageFiles(folder)).run(every_s=0.02)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
