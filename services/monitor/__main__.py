"""The monitor process: `python -m services.monitor`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from apx import bootstrap
from apx.audit.mirror import Mirror
from apx.errors import ApxError
from apx.telemetry import logs
from apx.telemetry.endpoint import health
from services.monitor.app import Monitor
from services.monitor.settings import MonitorSettings


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    try:
        settings = MonitorSettings.load()
        logs.configure("monitor", settings.log_level)
        asyncio.run(serve(settings))
    except ApxError as error:
        sys.stderr.write(f"{error}\n")  # before there are logs, the operator reads this
        return error.exit_code
    finally:
        logs.flush()
    return 0


async def serve(settings: MonitorSettings) -> None:
    """Lead or stand by until told to stop."""
    name = settings.monitor_name or f"{socket.gethostname()}-{os.getpid()}"
    async with bootstrap.backends(settings) as backends:
        monitor = Monitor(
            bootstrap.controller(settings, backends),
            backends.leases,
            name=name,
            every_s=settings.monitor_every_s,
            lease_s=settings.monitor_lease_s,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, monitor.stop)
        news = bootstrap.news(backends, bootstrap.dispatcher(backends))
        mirror = asyncio.create_task(Mirror(backends.rollouts, backends.audit, news.movement).run())
        try:
            with health(settings.monitor_port or None, lambda: monitor.ready, host=settings.monitor_host):
                await monitor.run()
        finally:
            mirror.cancel()
            await asyncio.gather(mirror, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
