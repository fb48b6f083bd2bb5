"""How one delivery is carried out: one call of the backend at most, and what follows from it.

too old                          → result `expired`; the backend is not called
over its attempts, or crashes    → result `failed`, and into the dead letters; the backend is not called
the gate is shut (a storm)       → wait; the attempt does not count
2xx, 3xx                         → result `succeeded`
retryable, and another try fits  → wait (backoff, `Retry-After`), then deliver again
retryable, and none fits         → result `failed`, and into the dead letters
any other status or failure      → result `failed`

A product of APX's own brings rules of its own for the last four, and what is given up of it for its age or because its
receiver is gone goes into the dead letters too: nobody polls for its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from apx.catalog.model import Async, ProductSpec, is_internal
from apx.clock import Clock
from apx.errors import ApxError, Unavailable
from apx.requests.execution_body import Body
from apx.requests.execution_budget import Budget, Budgets, NoBudget
from apx.requests.execution_call import BackendClient, Headers
from apx.requests.execution_once import Answered, Caller
from apx.requests.execution_rest import Resting
from apx.requests.execution_retry import MOST_CRASHES
from apx.requests.execution_rules import Failed, Outcome, ProductRules, Rules
from apx.requests.model import Delivery, Problem, Result, State
from apx.requests.ports import BlobStore, ResultStore, Settlement
from apx.rollout.counts import Tally

IN_THE_WAY_S = 5.0
"""Wait before the next try when a store or a release, not the backend, stood in the way."""

Chance = Callable[[], float]
"""Uniform in [0, 1)."""


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be settled, and what to say of it."""

    settlement: Settlement
    reason: str = ""
    """The code of what went wrong, empty when nothing did."""
    status: int | None = None
    """The backend's, where it answered."""
    called: bool = False
    cause: str = ""
    """Why the backend is to be called again: a word of `retry.on`."""
    detail: str = ""
    """For the log: what happened, where."""


class Execution:
    """Carries out deliveries; one for a process."""

    def __init__(
        self,
        client: BackendClient,
        results: ResultStore,
        blobs: BlobStore,
        *,
        clock: Clock,
        chance: Chance,
        tally: Tally,
    ) -> None:
        self._caller = Caller(client, results, blobs, clock, tally)
        self._clock = clock
        self._chance = chance
        self._budgets = Budgets(clock)
        self.resting = Resting()

    async def carry_out(self, delivery: Delivery, spec: ProductSpec, rules: Rules | None = None) -> Carried:
        """Do what is due for `delivery`, by the product's rules unless others are given.

        Cancelling closes the connection to the backend. Raises nothing of its own.
        """
        rules = rules or ProductRules(spec.backend.retry)
        refused = self._refused(delivery, spec, rules)
        if refused is not None:
            return refused
        budget = self._budgets.of(delivery.envelope.product) if rules.budgeted else NoBudget()
        if delivery.attempt == 1:
            budget.first()
        elif not await self._has_turn(delivery, budget):
            return self._expired(delivery, spec.async_.retention_s)
        started_ms = self._now_ms()
        try:
            outcome = await self._caller.call(delivery, spec, left_s=self._left_s(delivery))
        except Unavailable as error:
            return await self.hand_back_later(delivery, error)
        failed = rules.judge(outcome)
        if failed is None or failed.then != "again":
            budget.succeeded(retried=delivery.attempt > 1)
        return self._judged(delivery, spec, outcome, failed, started_ms=started_ms, rules=rules)

    def end(self, delivery: Delivery, state: State, problem: Problem, spec: ProductSpec) -> Carried:
        """End a delivery that is not to be carried out, for a reason that its release gives."""
        attempts = delivery.attempt - 1
        dead = state == "failed" and is_internal(delivery.envelope.product)
        return self._end(delivery, state, problem, dead=dead, attempts=attempts, retention_s=spec.async_.retention_s)

    async def hand_back_later(self, delivery: Delivery, error: ApxError) -> Carried:
        """Hold a delivery that something of ours stands in the way of, then hand it back, the attempt not counted."""
        left_s = self._left_s(delivery)
        if left_s <= 0:
            return self._expired(delivery, Async().retention_s)
        with self.resting.one(delivery.envelope.product):
            await asyncio.sleep(min(left_s, IN_THE_WAY_S * (1 + self._chance())))
        return Carried(
            settlement=Settlement(delivery=delivery, release=True),
            reason=error.code,
            detail=str(error),
        )

    async def _has_turn(self, delivery: Delivery, budget: Budget | NoBudget) -> bool:
        """Wait for the budget of retries; False when the deadline came first."""
        if budget.take():
            return True
        with self.resting.one(delivery.envelope.product):
            return await budget.wait(self._left_s(delivery))

    def _refused(self, delivery: Delivery, spec: ProductSpec, rules: Rules) -> Carried | None:
        """Return what becomes of a delivery that must not reach the backend, else None."""
        if self._now_ms() >= delivery.envelope.deadline_ms:
            return self._expired(delivery, spec.async_.retention_s)
        if delivery.crashes >= MOST_CRASHES:
            problem = Problem(code="quarantined", detail="The request was given up after repeated crashes.")
        elif delivery.attempt > rules.attempts:
            problem = Problem(code="attempts-exhausted", detail="The request was given up after its last attempt.")
        else:
            return None
        return self._end(
            delivery,
            "failed",
            problem,
            dead=True,
            attempts=delivery.attempt - 1,
            retention_s=spec.async_.retention_s,
        )

    def _expired(self, delivery: Delivery, retention_s: float) -> Carried:
        problem = Problem(code="deadline-exceeded", detail="The request was not carried out before its deadline.")
        dead = is_internal(delivery.envelope.product)
        attempts = delivery.attempt - 1
        return self._end(delivery, "expired", problem, dead=dead, attempts=attempts, retention_s=retention_s)

    def _judged(
        self,
        delivery: Delivery,
        spec: ProductSpec,
        outcome: Outcome,
        failed: Failed | None,
        *,
        started_ms: int,
        rules: Rules,
    ) -> Carried:
        answered = rules.kept(outcome) if isinstance(outcome, Answered) else None
        status = answered.status if answered else None
        if failed is None:
            return self._end(
                delivery,
                "succeeded",
                None,
                answered=answered,
                started_ms=started_ms,
                retention_s=spec.async_.retention_s,
            )
        # An internal product's addresses are an org's own, and may hold what only its receiver is to know.
        detail = "" if answered or is_internal(delivery.envelope.product) else str(outcome)
        if failed.then == "again":
            wait_s = self._next_try_s(delivery, rules, outcome.headers if isinstance(outcome, Answered) else ())
            if wait_s is not None:
                cause = str(outcome.status) if isinstance(outcome, Answered) else outcome.retry_on or outcome.code
                return self._wait(delivery, wait_s, failed.problem.code, cause=cause, status=status, detail=detail)
        return self._end(
            delivery,
            "failed",
            failed.problem,
            dead=failed.then != "failed",
            answered=answered,
            started_ms=started_ms,
            retention_s=spec.async_.retention_s,
            detail=detail,
        )

    def _next_try_s(self, delivery: Delivery, rules: Rules, headers: Headers) -> float | None:
        """Return the wait before the next try, or None when there is none left or it would come too late."""
        if delivery.attempt >= rules.attempts:
            return None
        now = self._clock.time()
        wait_s = rules.wait_s(delivery.attempt, self._chance(), headers, now=now)
        return wait_s if (now + wait_s) * 1000 < delivery.envelope.deadline_ms else None

    def _wait(
        self,
        delivery: Delivery,
        wait_s: float,
        reason: str,
        *,
        status: int | None = None,
        cause: str = "",
        detail: str = "",
    ) -> Carried:
        settlement = Settlement(delivery=delivery, retry_after_s=wait_s)
        return Carried(settlement=settlement, reason=reason, status=status, called=True, cause=cause, detail=detail)

    def _end(
        self,
        delivery: Delivery,
        state: State,
        problem: Problem | None,
        *,
        retention_s: float,
        dead: bool = False,
        answered: Answered | None = None,
        started_ms: int | None = None,
        attempts: int | None = None,
        detail: str = "",
    ) -> Carried:
        envelope = delivery.envelope
        body = answered.body if answered else Body(b"", None, 0)
        result = Result(
            id=envelope.id,
            org=envelope.org,
            product=envelope.product,
            release=envelope.release,
            state=state,
            accepted_ms=envelope.accepted_ms,
            started_ms=started_ms,
            finished_ms=self._now_ms(),
            attempts=delivery.attempt if attempts is None else attempts,
            status=answered.status if answered else None,
            headers=answered.headers if answered else (),
            body=body.inline,
            blob=body.blob,
            body_bytes=body.size_bytes,
            error=problem,
            # Kept past the deadline too: until then, a receipt without a result means that the request waits.
            # Of an internal product nobody holds a receipt.
            retention_s=retention_s + (0.0 if is_internal(envelope.product) else max(0.0, self._left_s(delivery))),
        )
        return Carried(
            settlement=Settlement(delivery=delivery, result=result, dead_letter=problem if dead else None),
            reason=problem.code if problem else "",
            status=result.status,
            called=started_ms is not None,
            detail=detail,
        )

    def _left_s(self, delivery: Delivery) -> float:
        return delivery.envelope.deadline_ms / 1000 - self._clock.time()

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)
