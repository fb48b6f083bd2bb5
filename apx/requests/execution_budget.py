"""How many repeated calls a backend gets: in a storm of failures retries wait, instead of multiplying the load.

First calls are never held back. A retry takes a token. Tokens come from success (a retry that succeeds brings two, so
that a backend that is well again is caught up with quickly), a few from first calls, and slowly from time, so that a
dead backend is tried now and then. A retry without a token waits its turn, up to its deadline: requests outlive the
storm. After the retry budgets of Finagle and gRPC (A6).
"""

from __future__ import annotations

import asyncio
from asyncio import Future, TimerHandle
from collections import deque

from apx.clock import Clock

RESERVE = 20.0
"""Tokens to begin with, and the most that first calls and time fill up to."""
MOST = 64.0
PER_FIRST_CALL = 0.02
PER_SUCCESS = 1.0
PER_RETRIED_SUCCESS = 2.0
PER_SECOND = 0.5


class Budget:
    """One product's budget, in one worker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens = RESERVE
        self._filled_s = clock.monotonic()
        self._queue: deque[Future[None]] = deque()
        self._timer: TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many retries wait for a token."""
        return len(self._queue)

    def first(self) -> None:
        """Count a first call."""
        self._fill(PER_FIRST_CALL, RESERVE)

    def succeeded(self, *, retried: bool) -> None:
        """Count a call that needs no retry."""
        self._fill(PER_RETRIED_SUCCESS if retried else PER_SUCCESS, MOST if retried else RESERVE)

    def take(self) -> bool:
        """Take a token for a retry; False when there is none, or others wait."""
        self._fill_by_time()
        if self._queue or self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def wait(self, timeout_s: float) -> bool:
        """Wait in turn for a token; False when `timeout_s` has passed without one."""
        turn: Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._look_again()
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._fill(1, MOST)  # it came at the same moment: the next in turn gets it
            raise
        finally:
            if turn in self._queue:
                self._queue.remove(turn)
        return True

    def _fill(self, tokens: float, most: float) -> None:
        if self._tokens < most:
            self._tokens = min(most, self._tokens + tokens)
        while self._queue and self._tokens >= 1:
            turn = self._queue.popleft()
            if not turn.done():
                self._tokens -= 1
                turn.set_result(None)

    def _fill_by_time(self) -> None:
        now_s = self._clock.monotonic()
        since_s, self._filled_s = now_s - self._filled_s, now_s
        self._fill(since_s * PER_SECOND, RESERVE)

    def _look_again(self) -> None:
        """Fill by time now, and again as long as somebody waits."""
        self._fill_by_time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(1 / PER_SECOND, self._look_again)


class NoBudget:
    """For deliveries whose retries are hours apart, each to an endpoint of its own."""

    def first(self) -> None:
        """Count nothing."""

    def succeeded(self, *, retried: bool) -> None:
        """Count nothing."""

    def take(self) -> bool:
        """Let every retry through."""
        return True

    async def wait(self, timeout_s: float) -> bool:  # noqa: ARG002 -- as `Budget`
        """Wait for nothing."""
        return True


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
