"""Time, passed in: nothing in APX reads a clock that a test cannot move."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks that never stand in for each other."""

    def time(self) -> float:
        """Seconds since the Unix epoch; may jump; for what is stored or shown."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never jumps; for durations in one process."""
        ...


class SystemClock:
    """The machine's clocks."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since boot."""
        return time.monotonic()


class ManualClock:
    """A clock that a test moves by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._elapsed = 0.0

    def time(self) -> float:
        """Return the seconds since the epoch that the test has set."""
        return self._now + self._elapsed

    def monotonic(self) -> float:
        """Return the seconds that the test has let pass."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._elapsed += seconds
