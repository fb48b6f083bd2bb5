"""The worker as a process: signals, health, the event loop's watch."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from apx.clock import Clock
from apx.telemetry import logs
from apx.telemetry.endpoint import LoopWatch, health
from services.worker.app import Parts, Worker
from services.worker.settings import WorkerSettings

LAG_ALARM_S = 0.25
LAG_CHECK_S = 5.0

_log = structlog.get_logger(__name__)


async def run(parts: Parts, settings: WorkerSettings, clock: Clock) -> None:
    """Work until SIGTERM or SIGINT, then drain; a second signal ends the process at once."""
    name = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
    worker = Worker(parts, settings, name=name, clock=clock, chance=random.SystemRandom().random)
    with (
        _signals(worker),
        health(settings.worker_port or None, lambda: worker.ready, host=settings.worker_host) as watch,
    ):
        alarm = asyncio.create_task(_alarm(watch))
        _log.info("worker-started", worker=name, concurrency=settings.concurrency)
        try:
            await worker.run()
        finally:
            alarm.cancel()
    _log.info("worker-stopped", worker=name)


@contextmanager
def _signals(worker: Worker) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    told = False

    def stop(number: int) -> None:
        nonlocal told
        if told:
            logs.flush()
            os._exit(128 + number)
        told = True
        worker.stop()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _alarm(watch: LoopWatch) -> None:
    """Say when the event loop was late: something blocks it, or the machine is overloaded."""
    while True:
        await asyncio.sleep(LAG_CHECK_S)
        if (lag_s := watch.worst_s()) > LAG_ALARM_S:
            _log.warning("event-loop-late", lag_s=round(lag_s, 3))
