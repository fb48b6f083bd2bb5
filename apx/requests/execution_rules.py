"""What an outcome means, and when the next try is due: by a product's own rules, or by those of an internal product."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from apx.catalog.model import Retry
from apx.requests.execution_call import BackendFailure, Headers
from apx.requests.execution_once import FIRST_FAILED, Answered
from apx.requests.execution_retry import backoff_s, is_retried
from apx.requests.model import Problem

Outcome = Answered | BackendFailure
Then = Literal["again", "buried", "failed"]
"""Another try, where one is left; into the dead letters; or a failed result and no more."""


class Failed(msgspec.Struct, frozen=True):
    """An outcome that is no success: what the client is told, and what follows."""

    problem: Problem
    then: Then


class Rules(Protocol):
    """How deliveries of one product are judged and tried again."""

    @property
    def attempts(self) -> int:
        """Most calls for one request, the first one included."""
        ...

    @property
    def budgeted(self) -> bool:
        """Whether retries wait for the product's budget of them."""
        ...

    def judge(self, outcome: Outcome) -> Failed | None:
        """Return what is wrong with an outcome; None for a success."""
        ...

    def kept(self, answer: Answered) -> Answered:
        """Return what of an answer is kept with the result."""
        ...

    def wait_s(self, attempt: int, chance: float, headers: Headers, *, now: float) -> float:
        """Return how long to wait after attempt number `attempt` (from 1); `chance` is uniform in [0, 1)."""
        ...


class ProductRules:
    """The rules that a product's `backend.retry` sets."""

    budgeted = True

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self.attempts = retry.attempts

    def judge(self, outcome: Outcome) -> Failed | None:
        """Fail what is no whole answer, and what is 4xx or 5xx."""
        if isinstance(outcome, BackendFailure):
            problem = Problem(code=outcome.code, detail=outcome.public)
            return Failed(problem, "again" if is_retried(self._retry, failure=outcome) else "failed")
        if outcome.status < FIRST_FAILED:
            return None
        problem = Problem(code="backend-status", detail=f"The backend answered with status {outcome.status}.")
        return Failed(problem, "again" if is_retried(self._retry, status=outcome.status) else "failed")

    def kept(self, answer: Answered) -> Answered:
        """Keep all of it: it is the client's."""
        return answer

    def wait_s(self, attempt: int, chance: float, headers: Headers, *, now: float) -> float:
        """Back off exponentially with full jitter."""
        return backoff_s(self._retry, attempt, chance, headers, now=now)
