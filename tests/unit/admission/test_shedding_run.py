"""A router at twice what it can do, in virtual time: what it completes, how late, and for whom.

The figures of the model are those of the router on one core: what a 202 takes before and after its write, what a
refusal at the door takes, and a store that syncs once for each batch.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from apx.admission.shedding import Shedder
from apx.clock import ManualClock
from tests.bench.row import percentile

ADMIT_S, ANSWER_S, REFUSE_S, ROUND_S = 130e-6, 55e-6, 20e-6, 10e-6
SYNC_S, WRITE_S = 1.5e-3, 25e-6
EDGE_S = 1e-3
"""The way through the edge, there and back."""
SECONDS, STEADY_FROM_S = 4.0, 1.0
"""What comes before is the onset: as much as may be under way was let in, and is worked off."""
FREE, PRO, ENTERPRISE = 0, 5, 10


class Loop:
    """An event loop that takes what has come, does all of it, and looks again; as a load meets it.

    `rate` requests a second, whatever becomes of them; or so many `clients`, each of whom asks again when answered.
    """

    def __init__(self, rate: float, shares: dict[int, int], *, sheds: bool = True, clients: int = 0) -> None:
        self.clock, self.random = ManualClock(), Random(1)  # noqa: S311 -- the same load each time
        least, most = (32, 256) if sheds else (10**9, 10**9)
        self.shedder = Shedder(self.clock, least=least, most=most, late_s=0.002, chance=self.random.random)
        self.shedder.rank(shares)
        self._rate, self._shares = rate, shares
        self._due = [0.0] * (clients or 1)
        self._waiting: list[tuple[float, int]] = []
        self._batch: list[tuple[float, int]] = []
        self._batch_at = self._probe_at = 0.0
        self._probed: float | None = None
        self.latencies: dict[int, list[float]] = {priority: [] for priority in shares}
        self.offered: Counter[int] = Counter()

    def run(self) -> Loop:
        while self.clock.monotonic() < SECONDS:
            arrived, written = self._arrived(), self._written()
            self._probe()
            begun = [one for one in arrived if self._passes_the_door(*one)]
            for came, priority in written:
                self._answer(came, priority)
            for one in begun:
                self._admit(*one)
            self._write()
            self.clock.advance(ROUND_S)
        return self

    def rate(self) -> float:
        """Return the answers a second to what was let in."""
        return sum(map(len, self.latencies.values())) / (SECONDS - STEADY_FROM_S)

    def p99(self) -> float:
        """Return the 99th percentile of what was let in, in seconds."""
        return percentile(sorted(one for answers in self.latencies.values() for one in answers), 99)

    def kept(self, priority: int) -> float:
        """Return which part of a plan's requests was let in."""
        return len(self.latencies[priority]) / self.offered[priority]

    def _arrived(self) -> list[tuple[float, int]]:
        arrived = []
        while self._due and self._due[0] <= self.clock.monotonic():
            (priority,) = self.random.choices(list(self._shares), list(self._shares.values()))
            due = self._due.pop(0)
            arrived.append((due, priority))
            self.offered[priority] += due >= STEADY_FROM_S
            if self._rate:
                self._due.append(due + self.random.expovariate(self._rate))
        return arrived

    def _written(self) -> list[tuple[float, int]]:
        if self._batch_at > self.clock.monotonic():
            return []
        written, self._batch = self._batch, []
        return written

    def _probe(self) -> None:
        now = self.clock.monotonic()
        if self._probed is not None:
            self.shedder.waited(now - self._probed)
            self._probed, self._probe_at = None, now + 0.01
        elif now >= self._probe_at:
            self._probed = now

    def _passes_the_door(self, _: float, priority: int) -> bool:
        if not self.shedder.has_room(priority):
            self.clock.advance(REFUSE_S)
            return False
        self.shedder.arrive()
        self.clock.advance(ADMIT_S / 4)
        return True

    def _admit(self, came: float, priority: int) -> None:
        self.shedder.begin()
        self.clock.advance(ADMIT_S * 3 / 4)
        if self.shedder.enter(priority):
            self._waiting.append((came, priority))

    def _answer(self, came: float, priority: int) -> None:
        self.clock.advance(ANSWER_S)
        self.shedder.leave(priority)
        if not self._rate:
            self._due.append(self.clock.monotonic())
        if came >= STEADY_FROM_S:
            self.latencies[priority].append(self.clock.monotonic() - came + EDGE_S)

    def _write(self) -> None:
        if self._waiting and not self._batch:
            self._batch, self._waiting = self._waiting[:256], self._waiting[256:]
            self._batch_at = self.clock.monotonic() + SYNC_S + WRITE_S * len(self._batch)


BEST = Loop(0, {FREE: 1}, sheds=False, clients=64).run().rate()
UNLOADED_P99_S = Loop(BEST / 5, {FREE: 1}).run().p99()


@pytest.mark.parametrize("times", [2.0, 3.0])
def test_it_goes_on_with_nine_tenths_of_its_best_and_answers_in_less_than_four_times_its_time(times: float) -> None:
    loop = Loop(times * BEST, {FREE: 1}).run()
    assert loop.rate() > 0.9 * BEST
    assert loop.p99() < 4 * UNLOADED_P99_S


def test_without_shedding_nobody_gets_an_answer_in_time() -> None:
    assert not Loop(2 * BEST, {FREE: 1}, sheds=False).run().latencies[FREE]


def test_below_what_it_can_do_nobody_is_turned_away() -> None:
    loop = Loop(0.8 * BEST, {FREE: 8, PRO: 1, ENTERPRISE: 1}).run()
    assert {priority: loop.kept(priority) > 0.99 for priority in (FREE, PRO, ENTERPRISE)} == {
        FREE: True,
        PRO: True,
        ENTERPRISE: True,
    }


def test_a_flood_of_the_lowest_plan_costs_the_others_next_to_nothing() -> None:
    loop = Loop(2 * BEST, {FREE: 8, PRO: 1, ENTERPRISE: 1}).run()
    assert loop.kept(ENTERPRISE) > 0.98
    assert loop.kept(PRO) > 0.95
    assert loop.kept(FREE) < 0.5


def test_a_flood_of_the_highest_plan_is_turned_away_itself_and_lowers_nobody_above_another() -> None:
    loop = Loop(2 * BEST, {FREE: 1, PRO: 1, ENTERPRISE: 8}).run()
    assert loop.kept(ENTERPRISE) > 0.5
    assert loop.kept(FREE) < loop.kept(PRO) < loop.kept(ENTERPRISE)
