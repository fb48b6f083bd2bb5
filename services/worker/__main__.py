"""The worker process: `python -m services.worker`."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from apx import bootstrap
from apx.errors import ApxError
from apx.telemetry import logs, tracing
from services.worker.process import run
from services.worker.settings import WorkerSettings


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    try:
        settings = WorkerSettings.load()
        logs.configure("worker", settings.log_level)
        tracing.configure("worker", settings.otlp_endpoint)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except ApxError as error:
        sys.stderr.write(f"{error}\n")  # before there are logs, the operator reads this
        return error.exit_code
    finally:
        tracing.shutdown()
        logs.flush()
    return 0


async def _serve(settings: WorkerSettings) -> None:
    async with bootstrap.worker_parts(settings, lease_s=settings.lease_s, connections=settings.concurrency) as parts:
        await run(parts, settings, bootstrap.CLOCK)


if __name__ == "__main__":
    sys.exit(main())
