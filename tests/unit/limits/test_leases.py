"""A router's loans: what it lets through, when it asks, and what it does alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from apx.backends.memory.limits import MemoryLimits
from apx.catalog.model import Rate
from apx.clock import ManualClock
from apx.errors import Unavailable
from apx.limits.leases import (
    AWAY_S,
    LOCAL_SHARE,
    STORE_TIMEOUT_S,
    Answer,
    Level,
    Limiter,
    WhenAway,
)
from apx.limits.loan import ASK_AGAIN_S, FORGOTTEN_S, LOAN_S
from apx.limits.store import Grant, LimitStore, Settle, Spent, Want
from apx.limits.windows import Window

RATE = Rate(per_second=10, burst=100)
KEY, ORG = Level("plan", "k:orders:k1", RATE), Level("org", "o:orders:acme", Rate(per_second=10, burst=5))


class Store(LimitStore):
    """The store in process, counted; it can be away, or hang."""

    def __init__(self, clock: ManualClock) -> None:
        self.calls = 0
        self.away = False
        self.fails: Exception | None = None
        self.hang: asyncio.Event | None = None
        self._buckets = MemoryLimits(clock)

    async def spent(self, buckets: Sequence[str]) -> list[Spent]:
        return await self._buckets.spent(buckets)

    async def settle(self, costs: Sequence[Settle]) -> None:
        await self._buckets.settle(costs)

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        self.calls += 1
        if self.hang is not None:
            await self.hang.wait()
            for _ in range(5):
                await asyncio.sleep(0)  # an answer passes through some tasks before it is one
        if self.away:
            raise Unavailable("away")
        if self.fails is not None:
            raise self.fails
        return await self._buckets.exchange(holder, wants, ttl_s)


class Losing(Store):
    """A store that one question about a bucket does not reach."""

    loses = ""

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        if wants[0].bucket == self.loses:
            self.loses = ""
            raise Unavailable("away")
        return await super().exchange(holder, wants, ttl_s)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return Store(clock)


@pytest.fixture
def limiter(store: Store, clock: ManualClock) -> Limiter:
    return Limiter(store, clock)


async def take(limiter: Limiter, *levels: Level, cost: float = 1.0, when_away: WhenAway = "closed") -> Answer:
    return await limiter.take(levels or (KEY,), cost, when_away)


async def allowed(limiter: Limiter, count: int, *levels: Level) -> int:
    return sum([(await take(limiter, *levels)).taken.allowed for _ in range(count)])


async def test_a_bucket_gives_its_burst_and_no_more(limiter: Limiter) -> None:
    assert await allowed(limiter, 150) == 100


async def test_most_requests_ask_nobody(limiter: Limiter, store: Store) -> None:
    big = Level("plan", "big", Rate(per_second=10_000, burst=10_000))
    assert await allowed(limiter, 5_000, big) == 5_000
    assert store.calls < 20


async def test_who_was_refused_is_not_asked_for_again_before_a_token_can_be_there(
    limiter: Limiter, store: Store, clock: ManualClock
) -> None:
    await allowed(limiter, 101)
    before = store.calls
    assert await allowed(limiter, 1_000) == 0
    assert store.calls == before
    clock.advance(0.1)
    assert await allowed(limiter, 10) == 1


async def test_a_request_that_costs_much_and_was_refused_holds_up_no_small_one(
    limiter: Limiter, clock: ManualClock
) -> None:
    level = Level("plan", "slow", Rate(per_second=1, burst=100))
    assert [(await take(limiter, level, cost=60)).taken.allowed for _ in range(2)] == [True, False]
    assert await allowed(limiter, 100, level) == 40
    assert (await take(limiter, level)).taken.retry_after_s == pytest.approx(1.0, abs=0.01)
    clock.advance(1.5)
    assert await allowed(limiter, 10, level) == 1
    assert (await take(limiter, level, cost=60)).taken.retry_after_s == pytest.approx(59.5, abs=0.01)


@pytest.mark.parametrize("beside", [8, 64])
async def test_who_asks_beside_others_is_refused_for_want_of_tokens_alone(limiter: Limiter, beside: int) -> None:
    key, org = (Level(name, name, Rate(per_second=1, burst=512)) for name in ("plan", "org"))
    each = await asyncio.gather(*(allowed(limiter, 512 // beside, key, org) for _ in range(beside)))
    assert sum(each) == 512
    assert await allowed(limiter, 1, key, org) == 0


async def test_several_routers_share_one_bucket(store: Store, clock: ManualClock) -> None:
    routers = [Limiter(store, clock) for _ in range(4)]
    let_through = await asyncio.gather(*(allowed(router, 100) for router in routers))
    assert sum(let_through) <= RATE.burst
    for router in routers:
        await router.aclose()
    assert sum(let_through) + await allowed(Limiter(store, clock), 100) == RATE.burst


async def test_all_levels_are_taken_or_none(limiter: Limiter) -> None:
    assert await allowed(limiter, 5, KEY, ORG) == 5
    refused = await take(limiter, KEY, ORG)
    assert (refused.taken.allowed, refused.level.name) == (False, "org")
    assert (await take(limiter, KEY)).taken.remaining == 94


async def test_the_answer_is_of_the_level_with_the_least_left(limiter: Limiter) -> None:
    answer = await take(limiter, KEY, ORG)
    assert (answer.level.name, answer.taken.remaining) == ("org", 4)


async def test_a_request_that_costs_more_than_the_bucket_never_passes(limiter: Limiter, store: Store) -> None:
    refused = await take(limiter, cost=101)
    assert (refused.taken.allowed, refused.taken.retry_after_s) == (False, float("inf"))
    assert store.calls == 0


async def test_a_refusal_says_when_there_is_enough_again(limiter: Limiter) -> None:
    await take(limiter, cost=100)
    refused = await take(limiter, cost=20)
    assert refused.taken.retry_after_s == pytest.approx(2.0, abs=0.01)


async def test_what_is_left_is_told(limiter: Limiter) -> None:
    assert [(await take(limiter)).taken.remaining for _ in range(5)] == [99, 98, 97, 96, 95]


async def test_a_loan_that_is_over_is_not_used(limiter: Limiter, store: Store, clock: ManualClock) -> None:
    fast = Level("plan", "fast", Rate(per_second=1_000, burst=1_000))
    await allowed(limiter, 100, fast)
    before = store.calls
    clock.advance(LOAN_S)
    await take(limiter, fast)
    assert store.calls == before + 1


async def test_racing_requests_share_one_question(limiter: Limiter, store: Store) -> None:
    answers = await asyncio.gather(*(take(limiter) for _ in range(50)))
    assert all(answer.taken.allowed for answer in answers) or store.calls <= 10
    assert sum(answer.taken.allowed for answer in answers) <= RATE.burst


class TestAway:
    async def test_a_plan_that_wants_to_be_sure_is_refused(self, limiter: Limiter, store: Store) -> None:
        store.away = True
        assert (await take(limiter, when_away="closed")).away

    async def test_another_lets_a_share_through(self, limiter: Limiter, store: Store) -> None:
        store.away = True
        passed = [(await take(limiter, when_away="local")).taken.allowed for _ in range(100)]
        assert sum(passed) == RATE.burst * LOCAL_SHARE

    async def test_it_goes_on_within_its_last_loan(self, limiter: Limiter, store: Store) -> None:
        big = Level("plan", "big", Rate(per_second=10_000, burst=10_000))
        await allowed(limiter, 100, big)
        store.away = True
        assert (await take(limiter, big, when_away="closed")).taken.allowed

    async def test_a_store_that_is_away_is_not_asked_by_every_request(
        self, limiter: Limiter, store: Store, clock: ManualClock
    ) -> None:
        store.away = True
        for _ in range(100):
            await take(limiter, when_away="local")
        assert store.calls == 1
        clock.advance(AWAY_S)
        store.away = False
        assert not (await take(limiter)).away
        assert store.calls == 2

    async def test_one_that_fails_otherwise_is_away_too(self, limiter: Limiter, store: Store) -> None:
        store.fails = ValueError("a script that does not fit")
        passed = [(await take(limiter, when_away="local")).taken.allowed for _ in range(100)]
        assert sum(passed) == RATE.burst * LOCAL_SHARE
        assert store.calls == 1

    async def test_a_store_that_hangs_is_waited_for_only_so_long(self, limiter: Limiter, store: Store) -> None:
        store.hang = asyncio.Event()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await take(limiter, when_away="closed")).away
        assert loop.time() - began < 0.5
        store.hang.set()
        await limiter.aclose()

    async def test_a_store_that_is_back_is_asked_as_soon_as_the_question_that_it_lost_has_ended(
        self, limiter: Limiter, store: Store, clock: ManualClock
    ) -> None:
        store.hang, store.away = asyncio.Event(), True
        assert (await take(limiter)).away
        clock.advance(AWAY_S)
        assert (await take(limiter)).away  # the first question is still under way
        assert store.calls == 1
        clock.advance(AWAY_S / 2)
        lost, store.hang = store.hang, None
        lost.set()
        for _ in range(9):
            await asyncio.sleep(0)
        store.away = False
        assert (await take(limiter)).taken.allowed

    async def test_one_who_may_wait_longer_gets_the_answer(self, store: Store, clock: ManualClock) -> None:
        store.hang, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.call_later(STORE_TIMEOUT_S * 2, store.hang.set)
        assert (await take(Limiter(store, clock, timeout_s=60), when_away="closed")).taken.allowed

    async def test_a_loop_that_is_late_itself_looks_at_what_has_come_before_it_says_that_the_store_is_late(
        self, limiter: Limiter, store: Store
    ) -> None:
        store.hang, loop = asyncio.Event(), asyncio.get_running_loop()
        asking = asyncio.create_task(take(limiter, when_away="closed"))
        await asyncio.sleep(0)
        loop.call_later(STORE_TIMEOUT_S / 10, store.hang.set)
        loop.call_soon(time.sleep, STORE_TIMEOUT_S * 2)
        assert (await asking).taken.allowed

    async def test_what_was_held_when_an_exchange_failed_is_not_used(
        self, limiter: Limiter, store: Store, clock: ManualClock
    ) -> None:
        await allowed(limiter, 100)
        store.away = True
        clock.advance(1.0)
        assert (await take(limiter)).away
        clock.advance(AWAY_S)
        store.away = False
        assert await allowed(limiter, 100) <= 21

    async def test_what_was_used_when_an_exchange_failed_is_not_lent_again_as_soon_as_another_succeeds(
        self, clock: ManualClock
    ) -> None:
        """The store has it down as lent still, and would take it for what the router holds and did not use."""
        store = Losing(clock)
        limiter = Limiter(store, clock)
        one, other = (Level("plan", name, Rate(per_second=0.001, burst=100)) for name in ("one", "other"))
        passed = 0
        for _ in range(100):
            store.loses = "one"
            answers = await asyncio.gather(take(limiter, one), take(limiter, other))  # the second says: it answers
            passed += answers[0].taken.allowed
        assert passed + await allowed(limiter, 100, one) <= 100


async def test_idle_loans_go_back(limiter: Limiter, store: Store, clock: ManualClock) -> None:
    big = Level("plan", "big", Rate(per_second=0.001, burst=1_000))
    await allowed(limiter, 300, big)
    keeping = asyncio.create_task(limiter.keep())
    clock.advance(0.5)
    other = Limiter(store, clock)
    async with asyncio.timeout(5):
        while not (await take(other, big, cost=700)).taken.allowed:
            clock.advance(1.0)
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_more_buckets_than_are_remembered_break_nothing(
    limiter: Limiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apx.limits.leases.MOST_LOANS", 2)
    for number in range(20):
        pair = [Level("plan", "first", RATE), Level("plan", f"{number}", RATE)]
        assert (await take(limiter, *pair, cost=0.0 if number % 4 else 1.0)).taken.allowed
    assert limiter.loans <= 2


async def test_what_nobody_asks_for_is_forgotten_in_time(limiter: Limiter, clock: ManualClock) -> None:
    await take(limiter)
    keeping = asyncio.create_task(limiter.keep())
    clock.advance(FORGOTTEN_S + 2 * LOAN_S)
    async with asyncio.timeout(5):
        while limiter.loans:
            clock.advance(FORGOTTEN_S)
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert (await take(limiter)).taken.allowed


async def test_buckets_that_nobody_uses_now_cost_no_time(
    limiter: Limiter, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand keys of the last five minutes, looked at ten times a second, took a tenth of a router."""
    monkeypatch.setattr("apx.limits.leases.KEEP_EVERY_S", 0.0)
    for number in range(500):
        await take(limiter, Level("plan", f"{number}", RATE))
    looked: list[object] = []

    def is_over(loan: object, *_: float) -> bool:
        looked.append(loan)
        return False

    monkeypatch.setattr("apx.limits.leases.IDLE_S", -1.0)
    monkeypatch.setattr("apx.limits.loan.Loan.is_over", is_over)
    keeping = asyncio.create_task(limiter.keep())
    async with asyncio.timeout(5):
        while store.calls < 1000:  # noqa: ASYNC110 -- another task's count, no event; until each was given back
            await asyncio.sleep(0)
    looked.clear()
    for _ in range(100):
        await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert 0 < len(looked) <= 100
    assert limiter.loans == 500


async def test_a_loan_in_use_is_renewed_before_it_ends(limiter: Limiter, store: Store, clock: ManualClock) -> None:
    fast = Level("plan", "fast", Rate(per_second=1_000, burst=1_000))
    await allowed(limiter, 100, fast)
    keeping = asyncio.create_task(limiter.keep())
    clock.advance(LOAN_S * 0.6)
    await take(limiter, fast)
    before = store.calls
    async with asyncio.timeout(5):
        while store.calls == before:  # noqa: ASYNC110 -- another task's count, no event
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def quota(clock: ManualClock, requests: int = 10, bucket: str = "day") -> Level:
    return Level("daily", bucket, Window(requests, clock.time() // 1000 * 1000, 1_700_003_600.0), kind="quota")


class TestQuota:
    async def test_it_gives_what_it_has_and_says_when_it_is_whole_again(
        self, limiter: Limiter, clock: ManualClock
    ) -> None:
        assert await allowed(limiter, 20, quota(clock)) == 10
        clock.advance(600)
        refused = await take(limiter, quota(clock))
        assert (refused.level.name, refused.taken.remaining) == ("daily", 0)
        assert (refused.taken.reset_s, refused.taken.retry_after_s) == (3000, 3000)

    async def test_it_is_told_when_it_has_the_least_left(self, limiter: Limiter, clock: ManualClock) -> None:
        answer = await take(limiter, KEY, quota(clock))
        assert (answer.level.name, answer.taken.remaining, answer.taken.reset_s) == ("daily", 9, 3600)

    async def test_a_request_that_costs_more_than_it_all_never_passes(
        self, limiter: Limiter, clock: ManualClock
    ) -> None:
        refused = await take(limiter, quota(clock), cost=11)
        assert (refused.taken.allowed, refused.taken.retry_after_s) == (False, float("inf"))

    async def test_what_another_router_holds_may_come_back(
        self, limiter: Limiter, store: Store, clock: ManualClock
    ) -> None:
        await store.exchange("another", [Want(bucket="day", rate=quota(clock).rate, used=0, hold=10)], 5.0)
        assert (await take(limiter, quota(clock))).taken.retry_after_s == ASK_AGAIN_S
        await store.exchange("another", [Want(bucket="day", rate=quota(clock).rate, used=4, hold=0)], 5.0)
        clock.advance(ASK_AGAIN_S)
        assert await allowed(limiter, 10, quota(clock)) == 6

    async def test_a_small_one_is_lent_request_by_request(
        self, limiter: Limiter, store: Store, clock: ManualClock
    ) -> None:
        await allowed(limiter, 3, quota(clock))
        assert await allowed(Limiter(store, clock), 10, quota(clock)) == 7

    async def test_no_more_than_an_eighth_of_what_is_left_is_lent_ahead(
        self, limiter: Limiter, store: Store, clock: ManualClock
    ) -> None:
        level = quota(clock, 1000)
        for passed in range(1, 900):
            assert (await take(limiter, level)).taken.allowed
            [seen] = await store.exchange("looks", [Want(bucket="day", rate=level.rate, used=0, hold=0)], 1.0)
            assert 1000 - seen.left <= passed + (1001 - passed) / 7

    async def test_a_busy_one_is_seldom_asked_for(self, limiter: Limiter, store: Store, clock: ManualClock) -> None:
        assert await allowed(limiter, 5_000, quota(clock, 1_000_000)) == 5_000
        assert store.calls < 20

    async def test_one_that_is_used_up_is_asked_for_once_a_second(
        self, limiter: Limiter, store: Store, clock: ManualClock
    ) -> None:
        await allowed(limiter, 11, quota(clock))
        before = store.calls
        assert await allowed(limiter, 1_000, quota(clock)) == 0
        assert store.calls == before

    async def test_more_of_it_is_there_at_once_and_what_was_used_stays_used(
        self, limiter: Limiter, clock: ManualClock
    ) -> None:
        await allowed(limiter, 11, quota(clock))
        assert await allowed(limiter, 20, quota(clock, 15)) == 5

    async def test_an_ended_one_is_forgotten(self, limiter: Limiter, clock: ManualClock) -> None:
        await take(limiter, quota(clock))
        keeping = asyncio.create_task(limiter.keep())
        clock.advance(3600)
        async with asyncio.timeout(5):
            while limiter.loans:  # noqa: ASYNC110 -- another task's, no event
                await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    async def test_alone_a_router_lets_a_share_of_what_was_left_through(
        self, limiter: Limiter, store: Store, clock: ManualClock
    ) -> None:
        await allowed(limiter, 60, quota(clock, 100))
        clock.advance(LOAN_S)
        store.away = True
        left = 100 - (await store.spent(["day"]))[0].used  # what the loan had and nobody used is lost
        passed = [(await take(limiter, quota(clock, 100), when_away="local")).taken for _ in range(50)]
        assert sum(taken.allowed for taken in passed) == int(left * LOCAL_SHARE)
        assert (passed[-1].reset_s, passed[-1].retry_after_s) == (3599, AWAY_S)
