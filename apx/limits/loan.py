"""A loan: tokens of a shared bucket that one router holds for a second."""

from __future__ import annotations

import asyncio

from apx.limits.store import Bound
from apx.limits.windows import Window

LOAN_S = 1.0
KEEP_EVERY_S = 0.1
"""How often loans in use are renewed: one is as large as what is used meanwhile."""
ASK_AGAIN_S = 1.0
"""How long a window that is used up is not asked about: its size can be changed, and what others hold comes back."""
FORGOTTEN_S = 300.0
"""How long what was last known of a bucket is kept, when nobody asks for it."""
NEVER = float("-inf")
"""Before any time of a clock."""


class Loan:
    """What one router holds of a bucket, and what it last heard of the rest."""

    __slots__ = (
        "expires",
        "flying",
        "held",
        "left",
        "lent",
        "rate",
        "short_at",
        "size",
        "touched",
        "used",
        "wanted",
    )

    def __init__(self, rate: Bound) -> None:
        self.rate = rate
        self.held = self.used = self.left = 0.0
        self.lent = 0.0  # to others
        self.size = 1.0
        self.wanted = 0.0  # by those who wait for an answer of the store
        self.expires = self.touched = NEVER
        self.short_at = NEVER  # when the store last had less than a request needed
        self.flying: asyncio.Task[None] | None = None

    def asked_again_at(self, cost: float) -> float:
        """Return when the store may have enough for a request, where it had too little for one."""
        lacking = cost - max(0.0, self.held) - self.left
        if lacking <= 0:
            return NEVER
        return self.short_at + (lacking / self.rate.per_second if self.rate.per_second else ASK_AGAIN_S)

    def is_over(self, now: float, now_s: float) -> bool:
        """Whether nothing of it is held, and its window has ended or nobody has asked for it for long."""
        if self.used or self.held or self.wanted or self.flying is not None:
            return False
        ended = isinstance(self.rate, Window) and self.rate.ends_s <= now_s
        return ended or now - self.expires > FORGOTTEN_S

    def next_size(self, cost: float, now: float) -> float:
        """Return how much to hold: what is used in a tenth of a second, and no more than an eighth of what there is."""
        rate = self.rate
        if not isinstance(rate, Window):
            return min(max(cost, self.size * 2), max(cost, min(rate.per_second * KEEP_EVERY_S, rate.burst / 8)))
        # Nothing says how fast a window is used but how long the last loan lasted; near its end, tokens go one by one.
        grown = self.size * 2 if self.expires - LOAN_S + KEEP_EVERY_S > now else self.size / 2
        return max(cost, min(grown, self.left / 8))
