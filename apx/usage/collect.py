"""From the log of usage to where it is stored for good: written first, forgotten after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from apx.errors import Unavailable
from apx.telemetry import metrics
from apx.telemetry.repeated import again_and_again
from apx.usage.events import UsageEvent, UsageLog
from apx.usage.questions import Question, Total, UsageTotals

EVERY_S = 10.0
PAGE = 20_000
_log = structlog.get_logger(__name__)


class UsageSink(Protocol):
    """Where events are stored for good."""

    async def write(self, name: str, events: Sequence[UsageEvent]) -> None:
        """Store events durably; the same `name` has the same events. Raises `Unavailable`; safe to repeat."""
        ...


class Collector:
    """Moves events; any number of them may run beside one another, and each may be killed at any moment."""

    def __init__(self, log: UsageLog, sink: UsageSink) -> None:
        self._log = log
        self._sink = sink

    async def collect(self) -> int:
        """Move what waits; return how many events that were. Raises `Unavailable`."""
        moved = 0
        while (page := await self._log.waiting(PAGE)) is not None:
            if page.events:
                await self._sink.write(page.name, page.events)
            await self._log.forget(page)
            moved += len(page.events)
            metrics.USAGE_COLLECTED.add(len(page.events))
        return moved

    async def run(self, every_s: float = EVERY_S) -> None:
        """Move what waits again and again, until cancelled; while a store is away, events wait."""
        await again_and_again(
            self.collect, every_s=every_s, failed="usage.not-collected", failures=metrics.USAGE_FAILURES
        )


class Collecting:
    """Answers questions from what is stored, after moving what waits: an answer has all that ended before it."""

    def __init__(self, collector: Collector, stored: UsageTotals) -> None:
        self._collector = collector
        self._stored = stored

    async def ask(self, question: Question) -> list[Total]:
        """Return the answer; where the log is away, of what is stored. Raises as `UsageTotals` says."""
        try:
            await self._collector.collect()
        except Unavailable as error:
            _log.warning("usage.not-collected", detail=str(error))
        return await self._stored.ask(question)
