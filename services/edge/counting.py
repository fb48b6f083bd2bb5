"""Reads Envoy's log of answers as long as the process runs, and keeps it small."""

from __future__ import annotations

import asyncio

import structlog

from apx.clock import Clock
from apx.errors import Unavailable
from services.edge.admin import Admin
from services.edge.answers import Answers
from services.edge.settings import EdgeSettings
from services.edge.tail import Tail

_log = structlog.get_logger(__name__)
_EVERY_S = 0.5


class Counting:
    """Counts what is logged, into the tally of `answers`."""

    def __init__(self, settings: EdgeSettings, answers: Answers, clock: Clock) -> None:
        self._path = settings.answers_path
        self._most_bytes = settings.edge_answers_bytes
        self._admin = Admin(settings.admin_path)
        self._tail = Tail(self._path)
        self._answers = answers
        self._clock = clock

    async def run(self) -> None:
        """Count until cancelled."""
        try:
            while True:
                await self.count()
                await asyncio.sleep(_EVERY_S)
        finally:
            self.close()

    async def count(self) -> None:
        """Count what has come since the last time, and begin a new file when this one has become large."""
        try:
            while lines := self._tail.read():
                self._answers.count(lines, self._clock.time())
                await asyncio.sleep(0)  # a backlog holds up nothing else
            await self._rotate()
        except OSError as error:
            _log.error("edge.answers-not-read", path=str(self._path), detail=str(error))

    def close(self) -> None:
        """Close the log."""
        self._tail.close()

    async def _rotate(self) -> None:
        """Move a large file away; Envoy is asked again until it writes to a new one."""
        if self._path.exists():
            if self._path.stat().st_size < self._most_bytes:
                return
            self._path.replace(self._tail.rotated)
        elif not self._tail.rotated.exists():
            return  # Envoy has not been here yet
        try:
            await self._admin.reopen_logs()
        except Unavailable:
            return  # an Envoy that starts opens a new file by itself
