"""Simulated rollouts: a product with orgs that differ, bursts and outages, and two judges that move its traffic.

Time is in seconds. Answers are drawn by org between two looks (binomial, with a normal approximation for large
numbers), cut where a burst or an outage begins or ends. Both judges meet the same worlds: orgs, split, bursts, outages;
the answers themselves are drawn anew, because the traffic depends on what each judge did.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from random import Random
from statistics import NormalDist
from typing import Literal

import msgspec

from apx.catalog.model import RolloutSpec
from apx.rollout.counts import Counts, bucket
from apx.rollout.judge import Observed, judge
from apx.rollout.model import Outcome
from apx.rollout.split import Split

Fault = Literal["none", "broken", "errors", "latency", "denials", "lockout"]
Ending = Literal["promoted", "aborted", "paused"]

ORGS = 80
HISTORY_S = 3600
BURST_S = 60
BURSTS_PER_S = 1 / 3600
"""Of each org; in turns three times the traffic and three times the errors."""
OUTAGES_PER_S = 1 / 5400
"""Of the backend, for all orgs: 10 to 60 s in which a tenth to a half of all answers fail."""
SLOWER, WRONGLY_DENIED = 1.5, 0.02
RIGHTLY_DENIED = 0.02
MEDIAN_S, SIGMA, ORG_SIGMA = 0.1, 0.5, 0.3
LEAST_LOCKED_OUT = 0.01
"""Share of the traffic of the org that is locked out; smaller ones are not seen."""
_CELLS = (29, 30, 31, 32, 33, 34, 35, 36, 38, 42)
"""Buckets that latencies are counted in: fine where the 90th percentile is, coarse elsewhere."""
_MORE_ERRORS: dict[Fault, float] = {"errors": 0.04, "broken": 1.0}
_NORMAL = NormalDist()


class Org(msgspec.Struct, frozen=True):
    """One org's own traffic."""

    name: str
    share: float
    errors: float
    latency: tuple[float, ...]
    """Share of the answers that take longer than each cell but the last."""
    slower: tuple[float, ...]
    """The same under a candidate that is slow."""


class End(msgspec.Struct, frozen=True):
    """How a rollout ended."""

    ending: Ending
    after_s: float
    """From the first answer that the fault touched (the start of the interval that it fell into)."""
    reason: str = ""


class World:
    """Everything that is the same whichever judge looks."""

    def __init__(self, seed: int, rps: float, fault: Fault, spec: RolloutSpec) -> None:
        random = Random(seed)  # noqa: S311 -- a simulation
        self.rps, self.fault, self.spec = rps, fault, spec
        self.orgs = _orgs(random)
        self.id = f"rollout-{seed}"
        until = int(spec.max_hold_s) * len(spec.steps)
        self.bursts = {org.name: sorted(_times(random, BURSTS_PER_S, -HISTORY_S, until)) for org in self.orgs}
        self.outages = [
            (begin, begin + random.randint(10, 60), random.uniform(0.1, 0.5))
            for begin in _times(random, OUTAGES_PER_S, -HISTORY_S, until)
        ]
        reached = Split(self.id, spec.steps[-1].weight_percent)
        large = [org for org in self.orgs if org.share >= LEAST_LOCKED_OUT and reached.arm(org.name) == "candidate"]
        self.locked_out = random.choice(large).name if large else ""
        self.random = Random(seed + 1)  # noqa: S311 -- a simulation

    def before(self) -> dict[str, Counts]:
        """Return the stable release's history."""
        seen: dict[str, Counts] = {}
        for org in self.orgs:
            self.serve(org, seen, -HISTORY_S, 0, candidate=False)
        return seen

    def serve(self, org: Org, seen: dict[str, Counts], begin: float, end: float, *, candidate: bool) -> None:
        """Draw an org's requests in a span."""
        for length, times, worse, failing in self._parts(org, begin, end):
            requests = poisson(self.random, length * times * self.rps * org.share)
            if requests:
                counts = seen.get(org.name)
                if counts is None:
                    counts = seen[org.name] = Counts(latency={})
                self._draw(org, counts, requests, 1 - (1 - min(1.0, org.errors * worse)) * (1 - failing), candidate)

    def _draw(self, org: Org, counts: Counts, requests: int, errors: float, candidate: bool) -> None:  # noqa: FBT001
        random, fault = self.random, self.fault if candidate else "none"
        rightly = binomial(random, requests, RIGHTLY_DENIED)
        wrong = (
            WRONGLY_DENIED if fault == "denials" else 1.0 if fault == "lockout" and org.name == self.locked_out else 0
        )
        wrongly = binomial(random, requests - rightly, wrong)
        counts.requests += requests
        counts.denied += rightly + wrongly
        if candidate:
            counts.compared += rightly + wrongly
            counts.newly_denied += wrongly
        answers = requests - rightly - wrongly
        counts.answers += answers
        counts.errors += binomial(random, answers, errors + (1 - errors) * _MORE_ERRORS.get(fault, 0.0))
        _latencies(random, counts.latency, answers, org.slower if fault == "latency" else org.latency)

    def _parts(self, org: Org, begin: float, end: float) -> Iterator[tuple[float, float, float, float]]:
        """Cut a span: seconds, times the traffic, times the errors, share of answers that an outage fails."""
        bursts = [(at, at + BURST_S) for at in self.bursts[org.name] if at < end and at + BURST_S > begin]
        outages = [one for one in self.outages if one[0] < end and one[1] > begin]
        if not bursts and not outages:
            yield end - begin, 1.0, 1.0, 0.0
            return
        edges = {
            begin,
            end,
            *(edge for burst in bursts for edge in burst),
            *(edge for one in outages for edge in one[:2]),
        }
        inside = sorted(edge for edge in edges if begin <= edge <= end)
        for left, right in pairwise(inside):
            burst = next((at for at, over in bursts if at <= left < over), None)
            failing = max((one[2] for one in outages if one[0] <= left < one[1]), default=0.0)
            traffic, errors = (1.0, 1.0) if burst is None else (3.0, 1.0) if burst % 2 else (1.0, 3.0)
            yield right - left, traffic, errors, failing

    def touched(self, candidate: Mapping[str, Counts]) -> bool:
        """Tell whether the fault has shown itself in an answer."""
        match self.fault:
            case "none":
                return True
            case "errors" | "broken":
                return any(counts.errors for counts in candidate.values())
            case "latency":
                return any(counts.answers for counts in candidate.values())
            case _:
                return any(counts.newly_denied for counts in candidate.values())


def by_the_judge(world: World, *, each_second: bool = False) -> End:
    """Move a rollout as the controller does: on with a pass after the hold, back with a fail, paused at the longest."""
    before, carried, first, begun = world.before(), dict[str, Counts](), None, 0.0
    steps = world.spec.steps
    for at, step in enumerate(steps):
        arms = _arms(world, step.weight_percent)
        seen: tuple[dict[str, Counts], dict[str, Counts]] = ({}, {})
        looks = range(1, int(world.spec.max_hold_s) + 1) if each_second else _looks(world.spec.max_hold_s)
        outcome: Outcome = "inconclusive"
        then = 0.0
        for now in looks:
            _advance(world, arms, seen, begun + then, begun + now)
            if first is None and world.touched(seen[0]):
                first = begun + then
            then = now
            verdict = judge(
                world.spec.judge,
                Observed(candidate=seen[0], stable=seen[1], before=before, carried=carried),
                weight_percent=step.weight_percent,
                last_weight_percent=steps[-1].weight_percent,
                last=at == len(steps) - 1,
            )
            outcome = verdict.outcome
            if outcome == "fail":
                return End("aborted", begun + now - (first or 0.0), verdict.reason)
            if outcome == "pass" and now >= step.hold_s:
                break
        if outcome != "pass":
            return End("paused", begun + then - (first or 0.0), f"step {at}: {verdict.reason}")
        begun += then
        for org, counts in seen[0].items():
            carried.setdefault(org, Counts(latency={})).add(counts)
    return End("promoted", begun - (first or 0.0))


def by_fixed_thresholds(world: World, *, least_success: float, most_p99_s: float = 0.5, failed_looks: int = 5) -> End:
    """Move a rollout as Flagger's example does: a look each minute at the last one's success rate and 99th percentile.

    Five looks that fail roll it back, one that succeeds moves it on; a minute without traffic fails.
    Source: https://docs.flagger.app/usage/metrics and .../usage/how-it-works.
    """
    failed, first, step, now = 0, None, 0, 0
    slowest = bucket(most_p99_s)
    while True:
        arms = _arms(world, world.spec.steps[step].weight_percent)
        seen: tuple[dict[str, Counts], dict[str, Counts]] = ({}, {})
        _advance(world, arms, seen, now, now + BURST_S, only_candidate=True)
        if first is None and world.touched(seen[0]):
            first = now
        now += 60
        answers = sum(one.answers for one in seen[0].values())
        errors = sum(one.errors for one in seen[0].values())
        slow = sum(count for one in seen[0].values() for cell, count in one.latency.items() if cell > slowest)
        if not answers or errors > (1 - least_success) * answers or slow > 0.01 * answers:
            failed += 1
        else:
            step += 1
        if failed >= failed_looks:
            return End("aborted", now - (first or 0.0))
        if step == len(world.spec.steps):
            return End("promoted", now - (first or 0.0))


def binomial(random: Random, trials: int, chance: float) -> int:
    """Draw how many of `trials` succeed."""
    if chance <= 0.0 or not trials:
        return 0
    if chance > 0.5:
        return trials - binomial(random, trials, 1 - chance)
    mean = trials * chance
    if mean > 16:
        return min(trials, max(0, round(random.gauss(mean, math.sqrt(mean * (1 - chance))))))
    found, at, scale = 0, 0, math.log1p(-chance)
    while True:
        at += int(math.log(1.0 - random.random()) / scale) + 1
        if at > trials:
            return found
        found += 1


def poisson(random: Random, mean: float) -> int:
    """Draw how often something happens."""
    if mean > 30:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    found, left = 0, math.exp(-mean)
    product = random.random()
    while product > left:
        found += 1
        product *= random.random()
    return found


def _orgs(random: Random) -> tuple[Org, ...]:
    shares = [1 / (rank + 1) for rank in range(ORGS)]
    found = []
    for rank, share in enumerate(shares):
        errors = random.uniform(0.1, 0.2) if random.random() < 0.05 else random.betavariate(1, 300)
        median = MEDIAN_S * math.exp(random.gauss(0, ORG_SIGMA))
        found.append(Org(f"org-{rank}", share / sum(shares), errors, _tail(median), _tail(median * SLOWER)))
    return tuple(found)


def _tail(median_s: float) -> tuple[float, ...]:
    """Return the share of a lognormal distribution above each cell but the last."""
    return tuple(1 - _NORMAL.cdf(math.log(0.001 * 2 ** (cell / 4) / median_s) / SIGMA) for cell in _CELLS[:-1])


def _latencies(random: Random, into: dict[int, int], answers: int, tail: tuple[float, ...]) -> None:
    """Draw from the slowest cell on, each given that the answer is in none of those before."""
    left, above = answers, 0.0
    for cell, share in zip(reversed(_CELLS[1:]), reversed(tail), strict=True):
        if not left:
            return
        drawn = binomial(random, left, (share - above) / (1 - above))
        above = share
        if drawn:
            into[cell] = into.get(cell, 0) + drawn
            left -= drawn
    if left:
        into[_CELLS[0]] = into.get(_CELLS[0], 0) + left


def _times(random: Random, per_s: float, begin: int, end: int) -> list[int]:
    gaps = (random.expovariate(per_s) for _ in iter(int, 1))
    found: list[float] = []
    for at in accumulate(gaps, initial=float(begin)):
        if at >= end:
            return [int(one) for one in found[1:]]
        found.append(at)
    return []


def _looks(until_s: float) -> Iterator[float]:
    """Yield the seconds of a step at which the simulation looks: each at first, then each fifth longer."""
    now = 0.0
    while now < until_s:
        now = min(until_s, 60.0 if now < 60 < now + max(1, now // 5) else now + max(1, now // 5))
        yield now


def _arms(world: World, weight_percent: float) -> tuple[list[Org], list[Org]]:
    split = Split(world.id, weight_percent)
    arms: tuple[list[Org], list[Org]] = ([], [])
    for org in world.orgs:
        arms[split.arm(org.name) == "stable"].append(org)
    return arms


def _advance(
    world: World,
    arms: tuple[list[Org], list[Org]],
    seen: tuple[dict[str, Counts], dict[str, Counts]],
    begin: float,
    end: float,
    *,
    only_candidate: bool = False,
) -> None:
    for org in arms[0]:
        world.serve(org, seen[0], begin, end, candidate=True)
    if not only_candidate:
        for org in arms[1]:
            world.serve(org, seen[1], begin, end, candidate=False)
