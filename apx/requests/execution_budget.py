"""How many repeated calls a backend gets: in a storm of failures retries wait, instead of multiplying the load.

First calls are never held back. A retry takes a token. Tokens come from success (a retry that succeeds brings two, so
that a backend that is well again is caught up with quickly), a few from first calls, and slowly from time, so that a
dead backend is tried now and then. A retry without a token waits, and that does not count as an attempt: requests
outlive the storm, up to their deadline. After the retry budgets of Finagle and gRPC (A6).
"""

from __future__ import annotations

from apx.clock import Clock

RESERVE = 20.0
"""Tokens to begin with, and the most that first calls and time fill up to."""
MOST = 64.0
PER_FIRST_CALL = 0.02
PER_SUCCESS = 1.0
PER_RETRIED_SUCCESS = 2.0
PER_SECOND = 0.5
SHORTEST_WAIT_S, LONGEST_WAIT_S = 1.0, 15.0
REFUSALS_PER_STEP = 200
"""So many refusals without a success lengthen the wait by its shortest: many waiting lanes ask less often each."""


class Budget:
    """One product's budget, in one worker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens = RESERVE
        self._filled_s = clock.monotonic()
        self._refusals = 0

    def first(self) -> None:
        """Count a first call."""
        self._fill(PER_FIRST_CALL, RESERVE)

    def retry(self) -> bool:
        """Take a token for a repeated call; False when there is none."""
        now_s = self._clock.monotonic()
        self._fill((now_s - self._filled_s) * PER_SECOND, RESERVE)
        self._filled_s = now_s
        if self._tokens < 1:
            self._refusals += 1
            return False
        self._tokens -= 1
        return True

    def succeeded(self, *, retried: bool) -> None:
        """Count a call that needs no retry."""
        self._refusals = 0
        self._fill(PER_RETRIED_SUCCESS if retried else PER_SUCCESS, MOST if retried else RESERVE)

    def wait_s(self, chance: float) -> float:
        """Return how long a refused retry waits; `chance` is uniform in [0, 1)."""
        steps = 1 + self._refusals // REFUSALS_PER_STEP
        return min(LONGEST_WAIT_S, SHORTEST_WAIT_S * steps) * (1 + chance)

    def _fill(self, tokens: float, most: float) -> None:
        if self._tokens < most:
            self._tokens = min(most, self._tokens + tokens)


class Budgets:
    """Every product's budget."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._budgets: dict[str, Budget] = {}

    def of(self, product: str) -> Budget:
        """Return the product's budget, made at the first call."""
        budget = self._budgets.get(product)
        if budget is None:
            budget = self._budgets[product] = Budget(self._clock)
        return budget
