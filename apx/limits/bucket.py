"""Token buckets in this process: exact for what one router admits.

Each bucket is kept as one number, the moment at which it will be full again (the generic cell rate algorithm, ITU-T
I.371 annex A, in its virtual scheduling form), so that idle buckets cost nothing and need no timer.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from apx.catalog.model import Rate
from apx.clock import Clock

_ROUNDING_S = 1e-9
_NEVER = float("inf")
_SLOWEST = 1e-9
"""Tokens a second, one in 30 years: below it a bucket's times leave what a double can tell apart."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a bucket answered."""

    allowed: bool
    remaining: int
    """Whole tokens left."""
    reset_s: float
    """Until the bucket is full again."""
    retry_after_s: float
    """Until as many tokens as were asked for are there; 0 when allowed, infinite when the bucket is too small."""


class Buckets:
    """Many buckets by name; beyond `most`, the one that was used the longest time ago is forgotten (and so is full)."""

    def __init__(self, clock: Clock, *, most: int = 200_000) -> None:
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str, rate: Rate, tokens: float = 1.0) -> Taken:
        """Take `tokens` from the bucket, all or none."""
        now = self._clock.monotonic()
        per_second = max(rate.per_second, _SLOWEST)
        window = rate.burst / per_second
        full_at = max(now, self._full_at.get(name, now))
        after = full_at + tokens / per_second
        if after - now > window + _ROUNDING_S:
            if name in self._full_at:
                self._full_at.move_to_end(name)  # who is refused is remembered too
            left = _whole(now + window - full_at, per_second)
            wait = after - now - window if tokens <= rate.burst else _NEVER
            return Taken(allowed=False, remaining=left, reset_s=full_at - now, retry_after_s=wait)
        self._full_at[name] = after
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        left = _whole(now + window - after, per_second)
        return Taken(allowed=True, remaining=left, reset_s=after - now, retry_after_s=0.0)


def _whole(seconds: float, per_second: float) -> int:
    return int((seconds + _ROUNDING_S) * per_second)
