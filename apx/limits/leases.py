"""Limits of one router: tokens of shared buckets, held in small loans, so that most requests ask nobody.

All levels of a request (its key's bucket, its org's) are taken together or none is. A bucket whose loan does not
suffice is asked for in the store, with those of the same moment; who was refused is not asked for again before a token
can be there. A store that does not answer in time (`STORE_TIMEOUT_S`) is left alone for a while.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import msgspec
import structlog

from apx.catalog.model import Rate
from apx.clock import Clock
from apx.errors import ApxError
from apx.limits.bucket import Buckets, Taken
from apx.limits.loan import KEEP_EVERY_S, LOAN_S, NEVER, Loan
from apx.limits.store import Bound, Grant, LimitStore, Want
from apx.limits.windows import Window
from apx.telemetry import metrics

IDLE_S = 0.3
"""A loan that nobody used for so long goes back."""
STORE_TIMEOUT_S = 0.05
AWAY_S = 1.0
"""How long a store that did not answer is not waited for, unless its answer comes after all."""
LOCAL_SHARE = 0.25
"""What a router lets through of a limit by itself, while the store is away and the plan says `local`."""
MOST_LOANS = 100_000
_TRIES = 10
"""How often one request asks: what was lent may not do for all who wait, and a level may lack what another has."""

_ROUNDING = 1e-9

_log = structlog.get_logger(__name__)

WhenAway = Literal["closed", "local"]
Kind = Literal["rate", "quota", "budget"]


class Level(msgspec.Struct, frozen=True):
    """One limit that a request falls under."""

    name: str
    """What clients are told: `plan` for the key's rate, `org` for the org's, a quota's own name."""
    bucket: str
    rate: Bound
    whose: str = ""
    """What a refusal says is used up."""
    kind: Kind = "rate"
    """A budget's tokens are millionths of a dollar."""
    observed: bool = False
    """Counted, and refuses nothing."""


_Charge = tuple[Level, float]
"""A level, and how many of its tokens a request takes."""


class Answer(msgspec.Struct, frozen=True):
    """What the limits said: the level that has the least left, or the one that refused."""

    level: Level
    taken: Taken
    away: bool = False
    """Refused because the store does not answer, and the plan wants to be sure."""
    alone: bool = False
    """Let through by this router by itself, while the store does not answer, which is not told of it."""
    observed: Level | None = None
    """What would have refused, if it were not only observed."""


class Limiter:
    """The limits of one process. One event loop."""

    def __init__(self, store: LimitStore, clock: Clock, timeout_s: float = STORE_TIMEOUT_S) -> None:
        """Let a request wait `timeout_s` for an answer of the store."""
        self._store = store
        self._clock = clock
        self._timeout_s = timeout_s
        self._holder = secrets.token_hex(8)
        self._loans: OrderedDict[str, Loan] = OrderedDict()
        """Those last that were asked for last."""
        self._in_use: dict[str, Loan] = {}
        """Those of which something is held, or is to be told: the few among the many that are known."""
        self._local = Buckets(clock)
        self._away_until = NEVER

    @property
    def loans(self) -> int:
        """How many loans are known; those of windows that have ended are forgotten, in their turn."""
        return len(self._loans)

    async def take(self, levels: Sequence[Level], cost: float, when_away: WhenAway, micro_usd: float = 0.0) -> Answer:
        """Take `cost` tokens of each level, of a budget's `micro_usd`, or of none. Observed levels stand in front."""
        charges = [
            (level, micro_usd if level.kind == "budget" else cost)
            for level in levels
            if micro_usd or level.kind != "budget"
        ]
        if levels[0].observed:
            return await self._observe(charges, when_away)
        return self._at_once(charges) or await self._take(charges, when_away)

    def left(self, bucket: str) -> float:
        """Return what a bucket had left when the store was last asked; infinitely much when it never was."""
        loan = self._loans.get(bucket)
        return loan.held + loan.left if loan is not None and loan.expires != NEVER else float("inf")

    def give_back(self, levels: Sequence[Level], micro_usd: float) -> None:
        """Give back what a request took from budgets that was not let in after all; what was told since is lost."""
        now = self._clock.monotonic()
        for level in levels:
            loan = self._loans.get(level.bucket) if level.kind == "budget" else None
            if loan is not None and loan.used >= micro_usd and loan.expires > now:
                loan.used -= micro_usd
                loan.held += micro_usd

    def _at_once(self, charges: Sequence[_Charge]) -> Answer | None:
        """Take from what is held, as most requests can; None when something is to be asked, or refused."""
        now = self._clock.monotonic()
        for level, cost in charges:
            loan = self._loans.get(level.bucket)
            if loan is None or loan.rate is not level.rate or loan.expires <= now or loan.held - loan.wanted < cost:
                return None
        return self._use(charges, now)

    async def _observe(self, charges: Sequence[_Charge], when_away: WhenAway) -> Answer:
        binding = [charge for charge in charges if not charge[0].observed]
        answer = await self._take(binding, when_away) if binding else None
        if answer is not None and not answer.taken.allowed:
            return answer
        seen = await self._take([charge for charge in charges if charge[0].observed], "local")
        refusing = None if seen.taken.allowed else seen.level
        taken = msgspec.structs.replace(seen.taken, allowed=True, retry_after_s=0.0)
        shown = Answer(seen.level, taken) if answer is None or answer.level.kind == "budget" else answer
        return msgspec.structs.replace(shown, alone=answer is not None and answer.alone, observed=refusing)

    async def _take(self, charges: Sequence[_Charge], when_away: WhenAway) -> Answer:
        for level, cost in charges:
            if cost > level.rate.burst:
                return Answer(level, self._refused(level, cost))
        for tried in range(_TRIES):
            now = self._clock.monotonic()
            lacking = [charge for charge in charges if self._free(charge[0], now, has_waited=tried > 0) < charge[1]]
            if not lacking and all(level.bucket in self._loans for level, _ in charges):
                return self._use(charges, now)
            if not lacking:
                continue  # one was forgotten for another
            for level, cost in lacking:
                if self._loan(level).asked_again_at(cost) > now:
                    return Answer(level, self._refused(level, cost))
            if not await self._ask(lacking):
                return self._without_store(charges, when_away)
        now = self._clock.monotonic()
        level, cost = next((one for one in charges if self._here(one[0], now) < one[1]), charges[0])
        return Answer(level, self._refused(level, cost))

    async def keep(self) -> None:
        """Renew loans in use and give idle ones back, until cancelled."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            now, now_s = self._clock.monotonic(), self._clock.time()
            for bucket, loan in list(self._in_use.items()):
                if loan.flying is not None:
                    continue
                if not (loan.used or loan.held):
                    del self._in_use[bucket]
                elif now >= self._away_until:
                    idle = now - loan.touched > IDLE_S
                    if idle or loan.expires - now < LOAN_S / 2:
                        self._fly(bucket, loan, 0.0 if idle else loan.held)
            while self._loans and next(iter(self._loans.values())).is_over(now, now_s):
                self._loans.popitem(last=False)

    async def aclose(self) -> None:
        """Give back what is held, as far as the store answers."""
        for bucket, loan in list(self._loans.items()):
            if loan.flying is None and (loan.used or loan.held):
                self._fly(bucket, loan, 0.0)
        flying = [loan.flying for loan in self._loans.values() if loan.flying is not None]
        if flying:
            await asyncio.wait(flying, timeout=self._timeout_s * 4)

    def _loan(self, level: Level) -> Loan:
        loan = self._loans.get(level.bucket)
        if loan is None:
            loan = self._loans[level.bucket] = Loan(level.rate)
            self._forget_old()
        elif loan.rate is not level.rate:
            if loan.rate != level.rate:
                loan.short_at = NEVER  # what it holds was lent all the same
            loan.rate = level.rate
        return loan

    def _forget_old(self) -> None:
        while len(self._loans) > MOST_LOANS:
            bucket, _ = self._loans.popitem(last=False)  # what it held is lost to its bucket until the loan ends
            self._in_use.pop(bucket, None)

    def _here(self, level: Level, now: float) -> float:
        loan = self._loan(level)
        return loan.held if loan.expires > now else 0.0

    def _free(self, level: Level, now: float, *, has_waited: bool) -> float:
        """Return what one request may take: what others already wait for is not a newcomer's."""
        return self._here(level, now) - (0.0 if has_waited else self._loan(level).wanted)

    def _use(self, charges: Sequence[_Charge], now: float) -> Answer:
        least, least_left = None, 0.0
        for level, cost in charges:
            loan = self._loans[level.bucket]
            loan.held -= cost
            loan.used += cost
            loan.touched = now
            left = loan.held + loan.left
            if least is None or (left < least_left and level.kind != "budget"):  # money is no number of requests
                least, least_left = level, left
        assert least is not None  # noqa: S101 -- a request has one level at least
        return Answer(least, self._taken(least.rate, least_left))

    def _refused(self, level: Level, cost: float) -> Taken:
        loan = self._loan(level)
        known = self._taken(level.rate, max(0.0, loan.held) + loan.left)
        wait = max(0.0, loan.asked_again_at(cost) - self._clock.monotonic())
        if cost > level.rate.burst:
            wait = float("inf")
        elif isinstance(level.rate, Window) and loan.held + loan.left + loan.lent < cost:
            wait = known.reset_s
        return msgspec.structs.replace(known, allowed=False, retry_after_s=wait)

    def _taken(self, bound: Bound, left: float) -> Taken:
        reset_s = (
            max(0.0, bound.ends_s - self._clock.time())
            if isinstance(bound, Window)
            else (bound.burst - left) / bound.per_second
        )
        return Taken(allowed=True, remaining=max(0, int(left + _ROUNDING)), reset_s=reset_s, retry_after_s=0.0)

    async def _ask(self, charges: Sequence[_Charge]) -> bool:
        """Ask for what is lacking; False when the store does not answer."""
        if self._clock.monotonic() < self._away_until:
            return False
        loans = [(self._loan(level), cost) for level, cost in charges]
        for loan, cost in loans:
            loan.wanted += cost
        try:
            late = await _late(self._flying(charges), self._timeout_s)
        finally:
            for loan, cost in loans:
                left = loan.wanted - cost
                loan.wanted = left if left > _ROUNDING else 0.0
        if late:
            self._gone("timeout", self._clock.monotonic())
        return self._clock.monotonic() >= self._away_until

    def _flying(self, charges: Sequence[_Charge]) -> set[asyncio.Task[None]]:
        """Return the questions under way about these levels, one for each."""
        flying = set[asyncio.Task[None]]()
        for level, cost in charges:
            loan = self._loan(level)
            task = loan.flying
            if task is None:
                loan.size = loan.next_size(cost, self._clock.monotonic())
                task = self._fly(level.bucket, loan, max(loan.size, loan.wanted), cost)
            flying.add(task)
        return flying

    def _fly(self, bucket: str, loan: Loan, hold: float, cost: float = 0.0) -> asyncio.Task[None]:
        if bucket in self._loans:
            self._loans.move_to_end(bucket)
        loan.flying = asyncio.create_task(self._exchange(bucket, loan, hold, cost))
        return loan.flying

    async def _exchange(self, bucket: str, loan: Loan, hold: float, cost: float) -> None:
        sent, told = self._clock.monotonic(), loan.used
        loan.used = 0.0
        if hold < loan.held or loan.expires <= sent:
            loan.held = 0.0  # given back, or over: not to be used meanwhile
        try:
            want = Want(bucket=bucket, rate=loan.rate, used=told, hold=hold, need=cost)
            [grant] = await self._store.exchange(self._holder, [want], LOAN_S)
        except Exception as error:  # noqa: BLE001 -- nobody else would hear of it, and each request ask again
            if not isinstance(error, ApxError):
                _log.exception("limits.not-asked", bucket=bucket)
            # If it was not told, the store still has it all down as lent, and would say so to the next question.
            loan.used += told + loan.held
            loan.held = 0.0
            self._gone("unavailable", sent)
        else:
            self._granted(loan, grant, sent, cost)
            if self._loans.get(bucket) is loan:
                self._in_use[bucket] = loan
        finally:
            loan.flying = None

    def _granted(self, loan: Loan, grant: Grant, sent: float, cost: float) -> None:
        self._away_until = NEVER  # late or not, it answers
        loan.held = max(0.0, grant.held - loan.used)
        loan.left, loan.lent, loan.expires = grant.left, grant.lent, sent + LOAN_S
        if cost and loan.held < cost:
            loan.short_at = self._clock.monotonic()

    def _gone(self, cause: str, since: float) -> None:
        """Leave the store alone for a while from when it did not answer: a question that was lost has waited enough."""
        metrics.LIMIT_STORE_FAILURES.inc(cause)
        self._away_until = since + AWAY_S

    def _without_store(self, charges: Sequence[_Charge], when_away: WhenAway) -> Answer:
        """Decide alone: refuse, or let a part of each limit through."""
        if when_away == "closed":
            taken = Taken(allowed=False, remaining=0, reset_s=AWAY_S, retry_after_s=AWAY_S)
            return Answer(charges[0][0], taken, away=True)
        answers = []
        for level, cost in charges:
            answers.append(Answer(level, self._alone(level, cost), alone=True))
            if not answers[-1].taken.allowed:
                return answers[-1]
        return min(answers, key=lambda answer: (answer.level.kind == "budget", answer.taken.remaining))

    def _alone(self, level: Level, cost: float) -> Taken:
        """Take from a part of a limit: of a window, from a part of what was last known to be left."""
        rate, loan, name = level.rate, self._loan(level), f"{level.bucket}/alone"
        if not isinstance(rate, Window):
            burst = max(1, int(rate.burst * LOCAL_SHARE))
            return self._local.take(name, Rate(per_second=rate.per_second * LOCAL_SHARE, burst=burst), cost)
        left = rate.burst if loan.expires == NEVER else loan.left
        taken = self._local.take(name, Rate(per_second=0.0, burst=int(left * LOCAL_SHARE)), cost)
        reset_s = max(0.0, rate.ends_s - self._clock.time())
        wait = 0.0 if taken.allowed else min(reset_s, AWAY_S)
        return msgspec.structs.replace(taken, reset_s=reset_s, retry_after_s=wait)


async def _late(flying: set[asyncio.Task[None]], timeout_s: float) -> set[asyncio.Task[None]]:
    """Wait for questions; return those that the store did not answer in `timeout_s`.

    In two halves: an answer that came while this loop stood still is there in the second, and is not the store's delay.
    """
    _, late = await asyncio.wait(flying, timeout=timeout_s / 2)
    if late:
        _, late = await asyncio.wait(late, timeout=timeout_s / 2)
    return late
