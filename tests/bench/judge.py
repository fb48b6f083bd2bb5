"""The judge of a rollout, on simulated traffic, beside thresholds that are looked at each minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import median

from apx.catalog.model import Judge, RolloutSpec
from apx.rollout.counts import Counts
from apx.rollout.judge import Observed, judge
from tests.bench.bench import Bench
from tests.bench.judge_sim import End, Fault, World, by_fixed_thresholds, by_the_judge
from tests.bench.row import Goal, Row, once, percentile, row

RATES = (5, 50, 500)
FAULTS: dict[Fault, str] = {
    "broken": "nothing but errors",
    "errors": "1 % → 5 % errors",
    "latency": "+50 % latency",
    "denials": "2 % wrongly denied",
    "lockout": "one org (1 % of the traffic or more) locked out",
}
NAMES = (
    *(f"judge-same-{rps}" for rps in RATES),
    *(f"judge-{fault}-{rps}{what}" for fault in FAULTS for rps in RATES for what in ("", "-abort")),
    "judge-10k-orgs",
)
EXAMPLE, TUNED = 0.99, 0.97
"""Flagger's example, and a threshold between the good and the bad candidate for who knows both."""
_LOOKS = (
    "80 orgs by Zipf's law, noisy ones, bursts, outages; steps 5/25/50 %, 60 s each, 3600 s at most. A look each "
    "second up to the tenth, then each fifth longer. Peer: a look each minute at the success rate (99 %) and the 99th "
    "percentile (500 ms), rolled back after five bad ones; split by org too, where its own split is by request and a "
    "noisy org weighs less"
)


def rows(bench: Bench) -> Iterator[Row]:
    """Let good and bad candidates run against both judges."""
    same, bad = (20, 10) if bench.quick else (1000, 100)
    for rps in RATES:
        ours, theirs, tuned = _ends("none", rps, same)
        yield row(
            f"judge-same-{rps}",
            once(_share(ours, "aborted")),
            once(_share(theirs, "aborted")),
            unit="%",
            peer="fixed thresholds",
            goal=Goal(at_most=1),
            less_is_better=True,
            note=f"{same} candidates that are as good as the stable release, {rps} requests a second: aborted all the "
            f"same. {_told(ours)}; the peer with {TUNED:.0%}: {_told(tuned)}. {_LOOKS}.",
        )
    for fault, what in FAULTS.items():
        for rps in RATES:
            yield from _bad(fault, what, rps, bad)
    yield _speed()


def _bad(fault: Fault, what: str, rps: int, count: int) -> Iterator[Row]:
    ours, theirs, tuned = _ends(fault, rps, count)
    yield row(
        f"judge-{fault}-{rps}",
        once(_share(ours, "promoted")),
        once(_share(theirs, "promoted")),
        unit="%",
        peer="fixed thresholds",
        goal=Goal(at_most=0.5),
        less_is_better=True,
        note=f"{count} candidates with {what}, {rps} requests a second: promoted all the same. {_told(ours)}; "
        f"the peer: {_told(theirs)}; with {TUNED:.0%}: {_told(tuned)}.",
    )
    if not (found := _aborts(ours)):
        yield Row(name=f"judge-{fault}-{rps}-abort", error=f"none of {count} was aborted: {_told(ours)}")
        return
    yield row(
        f"judge-{fault}-{rps}-abort",
        once(median(found)),
        once(median(_aborts(theirs) or [0.0])),
        unit="s",
        peer="fixed thresholds",
        less_is_better=True,
        note="from the first answer that the fault touched to the abort, median of those that were aborted; 95 % "
        f"within {percentile(found, 95):.0f} s.",
    )


def _ends(fault: Fault, rps: int, count: int) -> tuple[list[End], list[End], list[End]]:
    spec = RolloutSpec()

    def each(run: Callable[[World], End]) -> list[End]:
        return [run(World(seed, rps, fault, spec)) for seed in range(1, 7919 * count, 7919)]

    return (
        each(by_the_judge),
        each(lambda world: by_fixed_thresholds(world, least_success=EXAMPLE)),
        each(lambda world: by_fixed_thresholds(world, least_success=TUNED)),
    )


def _speed() -> Row:
    """Measure one verdict with many orgs."""
    random = Random(1)  # noqa: S311 -- an example
    orgs = [f"org-{number}" for number in range(10_000)]

    def arm(some: Sequence[str], answers: int) -> dict[str, Counts]:
        return {
            org: Counts(
                requests=answers,
                answers=answers,
                errors=random.randint(0, 2),
                latency=dict.fromkeys(range(20, 40), answers // 20),
            )
            for org in some
        }

    observed = Observed(
        candidate=arm(orgs[:5000], 100), stable=arm(orgs[5000:], 100), before=arm(orgs, 1000), carried={}
    )
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        judge(Judge(), observed, weight_percent=50, last_weight_percent=50, last=True)
        times.append((time.perf_counter() - begun) * 1e3)
    return row(
        "judge-10k-orgs",
        once(median(times)),
        unit="ms",
        goal=Goal(at_most=200),
        note="one verdict: 10,000 orgs, each with a history and 20 buckets of latency.",
    )


def _share(ends: Sequence[End], ending: str) -> float:
    return 100 * sum(end.ending == ending for end in ends) / len(ends)


def _aborts(ends: Sequence[End]) -> list[float]:
    return sorted(end.after_s for end in ends if end.ending == "aborted")


def _told(ends: Sequence[End]) -> str:
    shares = ", ".join(f"{_share(ends, ending):.3g} % {ending}" for ending in ("promoted", "aborted", "paused"))
    done = sorted(end.after_s for end in ends if end.ending == "promoted")
    return f"{shares}, promoted after {median(done):.0f} s" if done else shares
