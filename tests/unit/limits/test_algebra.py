"""Whatever several routers do, no bucket and no window is overdrawn: hypothesis plays them against a plain model."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from apx.backends.memory.limits import MemoryLimits
from apx.catalog.model import Rate
from apx.clock import ManualClock
from apx.errors import Unavailable
from apx.limits.leases import Level, Limiter
from apx.limits.store import Grant, LimitStore, Settle, Spent, Want
from apx.limits.windows import Window

RATE = Rate(per_second=7, burst=20)
ORG = Rate(per_second=5, burst=30)
LEVELS = (Level("plan", "key", RATE), Level("org", "org", ORG))
HOUR, MONTH, MONEY = 45, 70, 3_000
"""What two quotas and a budget let through; an "hour" of this clock has 12 seconds."""
LENGTH_S = 12.0
ROUTERS = st.integers(0, 2)


class Store(LimitStore):
    """A store that can lose questions, and answers to questions that it has carried out."""

    def __init__(self, clock: ManualClock) -> None:
        self.lose = ""
        self._buckets = MemoryLimits(clock)

    async def spent(self, buckets: Sequence[str]) -> list[Spent]:
        return await self._buckets.spent(buckets)

    async def settle(self, costs: Sequence[Settle]) -> None:
        await self._buckets.settle(costs)

    async def exchange(self, holder: str, wants: Sequence[Want], ttl_s: float) -> list[Grant]:
        if self.lose == "question":
            raise Unavailable("lost")
        grants = await self._buckets.exchange(holder, wants, ttl_s)
        if self.lose == "answer":
            raise Unavailable("lost")
        return grants


class Routers(RuleBasedStateMachine):
    """Three routers, any of which can be killed, over two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.routers = [Limiter(self.store, self.clock) for _ in range(3)]
        self.began = self.clock.monotonic()
        self.used: list[tuple[float, float]] = []
        self.counted: defaultdict[str, float] = defaultdict(float)
        self.returned = 0.0
        self.month = MONTH

    def quotas(self) -> tuple[Level, ...]:
        now = self.clock.time()
        begins = now // LENGTH_S * LENGTH_S
        return (
            Level("hour", f"hour:{begins}", Window(HOUR, begins, begins + LENGTH_S)),
            Level("month", "month", Window(self.month, 0.0, 9e9)),
            Level("money", "money", Window(MONEY, 0.0, 9e9), kind="budget"),
        )

    @rule(
        router=ROUTERS,
        cost=st.sampled_from([0.5, 1, 1, 1, 3, 8, 20]),
        times=st.integers(1, 12),
        repeats=st.booleans(),
    )
    def ask(self, router: int, cost: float, times: int, *, repeats: bool) -> None:
        for _ in range(times):
            levels, micro_usd = (*LEVELS, *self.quotas()), 40 * cost
            if not self.run(self.routers[router].take(levels, cost, "closed", micro_usd)).taken.allowed:
                continue
            self.used.append((self.clock.monotonic(), cost))
            for level in levels[2:]:
                self.counted[level.bucket] += micro_usd if level.kind == "budget" else cost
            if repeats:  # it was not let in after all, and costs no money
                self.routers[router].give_back(levels, micro_usd)
                self.returned += micro_usd

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.3, 0.9, 1.0, 1.1, 4.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(grown=st.sampled_from([0, 5, 30]))
    def change_the_plan(self, grown: int) -> None:
        self.month += grown

    @rule(router=ROUTERS)
    def kill(self, router: int) -> None:
        self.routers[router] = Limiter(self.store, self.clock)

    @rule(router=ROUTERS)
    def stop(self, router: int) -> None:
        self.run(self.routers[router].aclose())
        self.kill(router)

    @rule(lose=st.sampled_from(["", "", "question", "answer"]))
    def network(self, lose: str) -> None:
        self.store.lose = lose

    @invariant()
    def no_level_is_overdrawn_in_any_window(self) -> None:
        now = self.clock.monotonic()
        total = 0.0
        for began, cost in reversed(self.used):
            total += cost
            for rate in (RATE, ORG):
                assert total <= rate.burst + rate.per_second * (now - began) + 1e-6

    @invariant()
    def no_window_is_overdrawn(self) -> None:
        most = {"month": float(self.month), "money": MONEY + self.returned}
        for bucket, used in self.counted.items():
            assert used <= most.get(bucket, HOUR) + 1e-6

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        self.loop.close()


TestRouters = Routers.TestCase
TestRouters.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
