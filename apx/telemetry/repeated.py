"""Work that a process does again and again beside its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from apx.errors import Unavailable
from apx.telemetry.instruments import Counter

_log = structlog.get_logger(__name__)


async def again_and_again(
    step: Callable[[], Awaitable[object]], *, every_s: float, failed: str, failures: Counter | None = None
) -> None:
    """Take a step, wait, and again, until cancelled. What goes wrong is logged as `failed` and counted.

    A store that is away is a warning, anything else an error with its frames; neither ends it, as the next may go well
    and nobody else does the work.
    """
    while True:
        try:
            await step()
        except Unavailable as error:
            _count(failures)
            _log.warning(failed, detail=str(error))
        except Exception:  # noqa: BLE001 -- as said above
            _count(failures)
            _log.exception(failed)
        await asyncio.sleep(every_s)


def _count(failures: Counter | None) -> None:
    if failures is not None:
        failures.inc()
