"""How often the control API may be called, so that a script that loops leaves room for everybody else."""

from __future__ import annotations

import math

from apx.catalog.model import Rate
from apx.clock import Clock
from apx.errors import Retryable
from apx.limits.bucket import Buckets

_MOST_CALLERS = 10_000
STRANGERS = Rate(per_second=1.0, burst=60)
"""Calls without a valid token, from one address: each is a line in the log."""


class TooManyCalls(Retryable):
    """A caller goes on faster than it may."""

    code = "too-many-calls"
    status = 429

    def __init__(self, whose: str, rate: Rate, wait_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(f"{whose} may make {rate.per_second:g} calls a second, {rate.burst} after a pause")


class Pace:
    """A bucket for each caller, and one for each address that brings no valid token. One process, one event loop."""

    def __init__(self, clock: Clock, callers: Rate, strangers: Rate = STRANGERS) -> None:
        """Let each caller, and each address of strangers, make calls at these rates."""
        self._of_callers, self._of_strangers = callers, strangers
        self._callers = Buckets(clock, most=_MOST_CALLERS)
        self._strangers = Buckets(clock, most=_MOST_CALLERS)

    def take(self, subject: str) -> None:
        """Count a call of somebody known. Raises `TooManyCalls`."""
        _take(self._callers, subject, self._of_callers, subject)

    def take_refused(self, source: str) -> None:
        """Count a call that nobody known makes. Raises `TooManyCalls`."""
        _take(self._strangers, source, self._of_strangers, "an address without a valid token")


def _take(buckets: Buckets, name: str, rate: Rate, whose: str) -> None:
    taken = buckets.take(name, rate)
    if not taken.allowed:
        raise TooManyCalls(whose, rate, taken.retry_after_s)
