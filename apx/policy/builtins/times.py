"""Time: nanoseconds since the epoch, and what a calendar makes of them."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from apx.policy.builtins.base import ANY, INTEGER, TEXT, BuiltinContext, BuiltinError, Host, Unanswerable, host
from apx.policy.builtins.layouts import DAYS, NAMED, read, write

_INT64 = range(-(2**63), 2**63)
_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3_600 * _SECOND,
    "d": 86_400 * _SECOND,
    "w": 7 * 86_400 * _SECOND,
    "y": 365 * 86_400 * _SECOND,
}
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|[smhdwy])")
_MOST_PARTS = 3


class _Moment(msgspec.Struct, frozen=True):
    when: datetime
    nanosecond: int
    layout: str = ""


def now_ns(context: BuiltinContext) -> int:
    """Return the decision's time."""
    return context.now_ns


@host(TEXT)
def parse_rfc3339_ns(text: str) -> int:
    """Read an RFC 3339 time."""
    return _in_range(read(text, NAMED["RFC3339"]))


@host(TEXT, TEXT)
def parse_ns(layout: str, text: str) -> int:
    """Read a time by a layout of Go's, or by the name of one."""
    return _in_range(read(text, NAMED.get(layout, layout)))


@host(TEXT)
def parse_duration_ns(text: str) -> int:
    """Read a duration: `1h30m`, `2d`, `1w`, `1y` (365 days)."""
    rest = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if rest == "0":
        return 0
    parts = _DURATION.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise BuiltinError
    total = sum(int(Fraction(number) * _UNITS[unit]) for number, unit in parts)
    if total >= 2**63:
        raise BuiltinError
    return -total if text.startswith("-") else total


@host(ANY)
def date(operand: Any) -> list[int]:
    """Return year, month and day."""
    when = _moment(operand).when
    return [when.year, when.month, when.day]


@host(ANY)
def clock(operand: Any) -> list[int]:
    """Return hour, minute and second."""
    when = _moment(operand).when
    return [when.hour, when.minute, when.second]


@host(ANY)
def weekday(operand: Any) -> str:
    """Return the day's name."""
    return DAYS[_moment(operand).when.weekday()]


@host(ANY)
def time_format(operand: Any) -> str:
    """Write a time, as RFC 3339 with nanoseconds unless a layout is given."""
    moment = _moment(operand)
    layout = moment.layout or NAMED["RFC3339Nano"]
    return write(moment.when, moment.nanosecond, NAMED.get(layout, layout))


@host(ANY, INTEGER, INTEGER, INTEGER)
def add_date(operand: Any, years: int, months: int, days: int) -> int:
    """Add to a date; a day that the month has not is of the next one."""
    moment = _moment(operand)
    when = moment.when
    year, month = divmod(when.year * 12 + when.month - 1 + years * 12 + months, 12)
    try:
        first = datetime(year, month + 1, 1, when.hour, when.minute, when.second, tzinfo=when.tzinfo)
        moved = first + timedelta(days=when.day - 1 + days)  # wall-clock time, as Go
    except (ValueError, OverflowError) as error:
        raise BuiltinError from error
    whole = moved.astimezone(UTC) - _EPOCH
    return _in_range((whole.days * 86_400 + whole.seconds) * _SECOND + moment.nanosecond)


@host(ANY, ANY)
def diff(one: Any, other: Any) -> list[int]:
    """Return years, months, days, hours, minutes and seconds between two times, in the first one's zone."""
    first, second = _moment(one), _moment(other)
    begin, end = first.when, second.when.astimezone(first.when.tzinfo)
    if (begin.astimezone(UTC), first.nanosecond) > (end.astimezone(UTC), second.nanosecond):
        begin, end = end, begin
    parts = [getattr(end, name) - getattr(begin, name) for name in ("year", "month", "day", "hour", "minute", "second")]
    sizes = (0, 12, monthrange(begin.year, begin.month)[1], 24, 60, 60)
    for at in range(5, 0, -1):
        if parts[at] < 0:
            parts[at] += sizes[at]
            parts[at - 1] -= 1
    return parts


def _moment(operand: Any) -> _Moment:
    """Read a number of nanoseconds, or `[ns]`, `[ns, zone]`, `[ns, zone, layout]`."""
    parts = operand if isinstance(operand, list) else [operand]
    if not parts:
        raise BuiltinError
    if isinstance(parts[0], Decimal) and parts[0] != parts[0].to_integral_value():
        raise BuiltinError
    ns = INTEGER(parts[0])
    zone = _zone(TEXT(parts[1])) if len(parts) > 1 else UTC
    layout = TEXT(parts[2]) if len(parts) >= _MOST_PARTS else ""
    seconds, nanosecond = divmod(_in_range(ns), _SECOND)
    return _Moment((_EPOCH + timedelta(seconds=seconds)).astimezone(zone), nanosecond, layout)


@lru_cache(maxsize=1_024)
def _zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return UTC
    if name == "Local":
        raise Unanswerable("the time zone Local depends on the machine")
    try:
        return ZoneInfo(name)
    except (ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise BuiltinError from error
    except KeyError as error:
        raise BuiltinError from error


def _in_range(ns: int) -> int:
    if ns not in _INT64:
        raise BuiltinError
    return ns


TIMES: dict[str, Host] = {
    "time.add_date": add_date,
    "time.clock": clock,
    "time.date": date,
    "time.diff": diff,
    "time.format": time_format,
    "time.now_ns": now_ns,
    "time.parse_duration_ns": parse_duration_ns,
    "time.parse_ns": parse_ns,
    "time.parse_rfc3339_ns": parse_rfc3339_ns,
    "time.weekday": weekday,
}
