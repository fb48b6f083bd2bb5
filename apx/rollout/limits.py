"""What a measure is held against, and how a share is written for an operator."""

from __future__ import annotations

import math

import msgspec

from apx.rollout.model import Interval

ORG_POINTS = 0.25
"""One org decides alone only when it is this much worse off than before."""


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """Shares in [0, 1]; None where a measure is held against nothing of the kind."""

    more: float | None
    """Beyond this above the stable release it fails."""
    more_now: float | None
    """Within this above the stable release it passes the step."""
    most: float | None = None
    """Beyond this it fails, whatever the stable release did before."""


class Chances(msgspec.Struct, frozen=True, kw_only=True):
    """How often a measure may be wrong in one step, over all looks."""

    fail: float
    """Failing a candidate that is at its limit."""
    passing: float
    """Passing one that is over it."""


def figures(interval: Interval) -> str:
    """Write an interval in percent: `4.9 % (3.1 to 7.4) of 412`."""
    return f"{percent(interval.rate)} ({number(interval.low)} to {number(interval.high)}) of {interval.requests}"


def named(org: str) -> str:
    """Name an org; "" are those that a store counts together because there are too many (see `CountStore`)."""
    return f"org {org}" if org else "the orgs counted together"


def percent(share: float) -> str:
    """Write a share in percent."""
    return f"{number(share)} %"


def points(share: float) -> str:
    """Write a difference of shares in percentage points."""
    return f"{number(share)} points"


def number(share: float) -> str:
    """Write a share in percent, without the sign."""
    return f"{100 * share:.1f}"


def about(count: float) -> int:
    """Round an estimate up to two digits."""
    unit: int = 10 ** max(0, int(math.log10(count)) - 1)
    return math.ceil(count / unit) * unit
