"""Stretches of time that quotas and budgets are counted in: hours, days and months of a time zone's calendar."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec

from apx.catalog.model import Per

_HOUR_S = 3600


class Window(msgspec.Struct, frozen=True):
    """What a bucket holds that is there once: `burst` tokens from its beginning to its end, and none come back."""

    burst: int
    begins_s: float
    """Seconds since the Unix epoch."""
    ends_s: float
    per_second: ClassVar[float] = 0.0


class Span(msgspec.Struct, frozen=True):
    """An hour, a day or a month of a time zone."""

    label: str
    """Names it among all of its kind: `2026-11-26`, `2026-11`, `2026-11-26T14:00Z` (an hour, by when it begins)."""
    begins_s: float
    ends_s: float

    def holds(self, now_s: float) -> bool:
        """Tell whether a moment is in it."""
        return self.begins_s <= now_s < self.ends_s

    def of(self, tokens: int) -> Window:
        """Return a bucket for this time, always the same object."""
        return _window(tokens, self.begins_s, self.ends_s)


@lru_cache(maxsize=10_000)
def _window(tokens: int, begins_s: float, ends_s: float) -> Window:
    return Window(tokens, begins_s, ends_s)


def span_of(per: Per, timezone: str, now_s: float) -> Span:
    """Return the hour, day or month that a moment is in. No moment is in two, and days may have 23 or 25 hours."""
    return _SPANS[per](zone(timezone), now_s)


@cache
def zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name; UTC for one that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # the tree was validated where the name was known
        return ZoneInfo("UTC")


def _hour(timezone: tzinfo, now_s: float) -> Span:
    offset = datetime.fromtimestamp(now_s, timezone).utcoffset() or timedelta()
    begins = (now_s + offset.total_seconds()) // _HOUR_S * _HOUR_S - offset.total_seconds()
    utc = datetime.fromtimestamp(begins, ZoneInfo("UTC"))
    return Span(f"{utc:%Y-%m-%dT%H:%MZ}", begins, begins + _HOUR_S)


def _day(timezone: tzinfo, now_s: float) -> Span:
    day = datetime.fromtimestamp(now_s, timezone).date()
    return Span(f"{day}", _midnight(day, timezone), _midnight(day + timedelta(days=1), timezone))


def _month(timezone: tzinfo, now_s: float) -> Span:
    first = datetime.fromtimestamp(now_s, timezone).date().replace(day=1)
    after = (first + timedelta(days=31)).replace(day=1)
    return Span(f"{first:%Y-%m}", _midnight(first, timezone), _midnight(after, timezone))


def _midnight(day: date, timezone: tzinfo) -> float:
    """Return when a day begins: where the clocks jump over midnight, at the jump; where it comes twice, the first."""
    return datetime(day.year, day.month, day.day, tzinfo=timezone).timestamp()


_SPANS: dict[Per, Callable[[tzinfo, float], Span]] = {"hour": _hour, "day": _day, "month": _month}
