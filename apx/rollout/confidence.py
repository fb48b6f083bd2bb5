"""Confidence sequences: what can be said of a rate of events at any moment, however often one looks.

A lower bound that may be looked at each second must hold for all seconds at once. For events x_1, x_2, … in {0, 1}, of
which each may have a mean of its own that depends on all before it, let p be the average of these means so far. Then
for each fixed l

    exp(l * events) / (1 + p * (exp(l) - 1)) ** trials

is at most a supermartingale that starts at 1: with each event's own mean in place of p it is one (the factor is the
event's moment generating function), and by the concavity of log(1 + p * c) the average only makes the denominator
larger. An average over a fixed grid of l is one too, and Ville's inequality says that it ever reaches 1/alpha with
probability alpha at most. What reaches it refutes p: with l > 0 that p is as small, with l < 0 that it is as large.
exp(l) is the ratio of the odds p'/(1-p') : p/(1-p), and the factor the likelihood ratio of p' to p, so that this is the
mixture sequential probability ratio test, with all alternatives p' on one side of p. Nothing is assumed of orgs: they
may differ, fail in bursts and depend on one another; the bound is of what their average has been.

Sources: Ville 1939, "Étude critique de la notion de collectif"; Robbins 1970, "Statistical methods related to the law
of the iterated logarithm"; Howard, Ramdas, McAuliffe and Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic
confidence sequences"; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"; Johari,
Koomen, Pekelis and Walsh 2022, "Always valid inference". For `fixed_low`: Chernoff 1952; Hoeffding 1963, theorem 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

_FIRST, _RATIO, _SIZE = 0.04, 1.8, 9
"""The grid of l: 0.04 to 4.4. Denser would gain little: the best l is never further off than a third, which costs a
tenth of the evidence, and each point more costs a share of the weight."""
_CENTRE = 0.7
"""What most comparisons here ask about is a doubling of the odds."""
_EXTREME = 0.25
"""The weight of l = ±infinity, which is the best where all or none of the trials are events."""
_PRECISION = 0.01
"""Of a bound, in nats of evidence."""
_MIXED = 2.5
"""About what the mixture costs beside the best alternative, in nats."""
_FURTHEST = 21.0
_NEARLY_ONE = 1 - 1e-9
"""Whose logit is 21 as well."""
_MOST_STEPS = 40


def _grid() -> tuple[tuple[float, float, float], ...]:
    """Return (l, log of its weight, exp(l) - 1)."""
    sizes = [_FIRST * _RATIO**at for at in range(_SIZE)]
    raw = [1 / (1 + math.log(size / _CENTRE) ** 2) for size in sizes]
    return tuple(
        (size, math.log((1 - _EXTREME) * weight / sum(raw)), math.expm1(size))
        for size, weight in zip(sizes, raw, strict=True)
    )


_GRID = _grid()


def log_evidence_above(events: float, trials: float, rate: float) -> float:
    """Return the log of the evidence that the average rate is above `rate`, a number in [0, 1].

    For a true average of `rate` or less it ever exceeds log(1/alpha) with probability alpha at most.
    """
    if rate <= 0.0:
        return math.inf if events else 0.0
    if rate >= 1.0 or not trials:
        return 0.0
    log1p = math.log1p
    logs = [weight + events * size - trials * log1p(rate * less) for size, weight, less in _GRID]
    if events == trials:
        logs.append(math.log(_EXTREME) - trials * math.log(rate))
    return _log_sum_exp(logs)


def log_evidence_below(events: float, trials: float, rate: float) -> float:
    """Return the log of the evidence that the average rate is below `rate`: the mirror of `log_evidence_above`."""
    return log_evidence_above(trials - events, trials, 1.0 - rate)


@lru_cache(maxsize=4096)
def lower(events: int, trials: int, alpha: float) -> float:
    """Return a bound that the average rate is ever below with probability `alpha` at most, over all looks."""
    if not events:
        return 0.0
    seen, nats = events / trials, -math.log(alpha)
    width = _width(seen, trials, nats + _MIXED)
    return _falling_to(lambda rate: log_evidence_above(events, trials, rate) - nats, seen, width)


def upper(events: int, trials: int, alpha: float) -> float:
    """Return a bound that the average rate is ever above with probability `alpha` at most, over all looks."""
    return 1.0 - lower(trials - events, trials, alpha) if trials else 1.0


def divergence(rate: float, other: float) -> float:
    """Return what one trial at `rate` tells against `other` (Kullback and Leibler), in nats; both in [0, 1]."""
    if other <= 0.0 or other >= 1.0:
        return 0.0 if rate == other else math.inf
    some = rate * math.log(rate / other) if rate > 0.0 else 0.0
    rest = (1 - rate) * math.log((1 - rate) / (1 - other)) if rate < 1.0 else 0.0
    return max(0.0, some + rest)


def fixed_low(rate: float, trials: float, alpha: float) -> float:
    """Return what the true rate is not below when `rate` was seen in a number of trials that was fixed before.

    Wrong with probability `alpha` at most, for this one look (Chernoff's bound).
    """
    if trials <= 0.0:
        return 0.0
    nats, rate = -math.log(alpha), min(1.0, max(0.0, rate))
    return _falling_to(lambda other: trials * divergence(rate, other) - nats, rate, _width(rate, trials, nats))


def fixed_high(rate: float, trials: float, alpha: float) -> float:
    """Return what the true rate is not above: the mirror of `fixed_low`."""
    return 1.0 - fixed_low(1.0 - rate, trials, alpha)


def _falling_to(excess: Callable[[float], float], high: float, step: float) -> float:
    """Return about where a function of a rate, which falls up to `high` and is negative there, meets 0.

    The function is not below 0 at what is returned, nor above `_PRECISION`; 0 where it is negative all the way. By
    false position (the Illinois variant: Dowell and Jarratt 1971) in the logit, where it is nearly a parabola for small
    rates as well; `step` is about how far it is to go there.
    """
    if high <= 0.0:
        return 0.0
    right = math.log(high / (1 - high)) if high < _NEARLY_ONE else _FURTHEST
    left, at_right = right, 0.0
    found = excess(_rate(right))
    while found < 0.0:
        if left <= -_FURTHEST:
            return 0.0
        right, at_right = left, found
        left, step = max(-_FURTHEST, left - step), step * 2
        found = excess(_rate(left))
    at_left, moved_left = found, False
    for _ in range(_MOST_STEPS):
        if found <= _PRECISION:
            break
        middle = (left * at_right - right * at_left) / (at_right - at_left)
        now = excess(_rate(middle))
        if now >= 0.0:
            at_right = at_right / 2 if moved_left else at_right
            left, found, at_left, moved_left = middle, now, now, True
        else:
            at_left = at_left if moved_left else at_left / 2
            right, at_right, moved_left = middle, now, False
    return _rate(left)


def _width(rate: float, trials: float, nats: float) -> float:
    """Return about how far a bound is from a rate, in the logit."""
    return min(2.0, math.sqrt(2 * nats / (trials * max(1e-9, rate * (1 - rate)))))


def _rate(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _log_sum_exp(logs: list[float]) -> float:
    most = max(logs)
    return most + math.log(sum(math.exp(one - most) for one in logs))
