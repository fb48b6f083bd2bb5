"""Where limits are shared by routers: tokens are lent out in small batches, and what is not used comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from apx.catalog.model import Rate
from apx.limits.windows import Window

KEPT_S = 3600.0
"""How long a window is remembered after its end; who asks for one later gets nothing."""

Bound = Rate | Window
"""How a bucket fills: all the time, or once."""


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What a holder says of one bucket."""

    bucket: str
    rate: Bound
    used: float
    """Tokens of the loan that were used since the last time."""
    hold: float
    """How many it would like to hold from now on; 0 gives the rest back."""
    need: float = 0.0
    """How many a request waits for: what `Spent.short_of` tells, when they are not there."""


class Grant(msgspec.Struct, frozen=True):
    """What the holder has of a bucket now, and what is left in it for anybody."""

    held: float
    left: float
    lent: float = 0.0
    """What others hold of it, and may give back."""


class Settle(msgspec.Struct, frozen=True):
    """What is known of a cost afterwards."""

    bucket: str
    ends_s: float
    """Of the bucket's window."""
    tokens: float
    """What it cost more than was taken for it; below 0: what is given back."""


class Spent(msgspec.Struct, frozen=True):
    """What is known of a window without taking part."""

    used: float = 0.0
    """As far as it was told."""
    short_of: int = 0
    """The size that it had when somebody last needed more than there was; 0: nobody ever did."""


class LimitStore(Protocol):
    """Token buckets that are never overdrawn, whoever holds how many of their tokens.

    - A bucket holds `burst` tokens at most, **those that are lent out included**, and gains `per_second`. So in any
      time T no more than `burst + per_second * T` are used by all holders together, however many they are.
    - The bucket of a window gains nothing, and remembers what was used: its size can be changed on the way. It is known
      until `KEPT_S` after its end by the store's clock, and has nothing to give from then on: whatever the holders'
      clocks say, no window gives more than it has.
    - `exchange` is one atomic step for all buckets of a call, by the store's clock. A bucket that nobody knows is full.
    - A loan ends `ttl_s` after the exchange was made; the holder counts from before it asked. What was not told as used
      by then is lost to the bucket, never lent twice: a holder that is killed costs its tokens once.
    - Raises `Unavailable`; then the exchange may have been made, and the holder may not use what it held.
    """

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        """Tell what was used, and hold what is wanted as far as it is there; of each bucket once in a call."""
        ...

    async def spent(self, buckets: Sequence[str]) -> list[Spent]:
        """Return what is used of windows' buckets; nothing of one that nobody knows. Raises `Unavailable`."""
        ...

    async def settle(self, costs: Sequence[Settle]) -> None:
        """Add to what was used of windows, or take from it, each in one step and all the same when that is too much.

        No more is taken from it than was used and is lent: a cost may be known before its use is told. Nothing is known
        of a window `KEPT_S` after its end, and nothing happens then. Raises `Unavailable`; then it may have been done.
        """
        ...
