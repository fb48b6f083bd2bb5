"""Go's time layouts: the reference time `Mon Jan 2 15:04:05 MST 2006` in the shape that is wanted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from apx.policy.builtins.base import BuiltinError, Unanswerable

NAMED = {
    "ANSIC": "Mon Jan _2 15:04:05 2006",
    "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
    "RubyDate": "Mon Jan 02 15:04:05 -0700 2006",
    "RFC822": "02 Jan 06 15:04 MST",
    "RFC822Z": "02 Jan 06 15:04 -0700",
    "RFC850": "Monday, 02-Jan-06 15:04:05 MST",
    "RFC1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "RFC3339": "2006-01-02T15:04:05Z07:00",
    "RFC3339Nano": "2006-01-02T15:04:05.999999999Z07:00",
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_ELEMENT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|2006|__2|002|_2006|_2|0[1-6]|15|1|2|3|4|5|PM|pm"
    r"|-07:00:00|-070000|-07:00|-0700|-07|Z07:00:00|Z070000|Z07:00|Z0700|Z07|[.,]0+(?![0-9])|[.,]9+(?![0-9])"
)
_ZONE = r"(?P<sign>[+-])(?P<zh>\d\d)"
_PARSERS = {
    "2006": r"(?P<year>\d{4})",
    "06": r"(?P<yy>\d\d)",
    "01": r"(?P<month>\d\d)",
    "1": r"(?P<month>\d\d?)",
    "Jan": rf"(?P<name>{'|'.join(name[:3] for name in MONTHS)})",
    "January": rf"(?P<name>{'|'.join(MONTHS)})",
    "02": r"(?P<day>\d\d)",
    "2": r" ?(?P<day>\d\d?)",
    "_2": r" ?(?P<day>\d\d?)",
    "Mon": rf"(?:{'|'.join(name[:3] for name in DAYS)})",
    "Monday": rf"(?:{'|'.join(DAYS)})",
    "15": r"(?P<hour>\d\d?)",
    "03": r"(?P<half>\d\d)",
    "3": r"(?P<half>\d\d?)",
    "04": r"(?P<minute>\d\d)",
    "4": r"(?P<minute>\d\d?)",
    "05": r"(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?",
    "5": r"(?P<second>\d\d?)(?:[.,](?P<fraction>\d+))?",
    "PM": r"(?P<pm>AM|PM)",
    "pm": r"(?P<pm>am|pm)",
    "MST": r"(?P<zone>UTC|GMT)",
    "-0700": rf"{_ZONE}(?P<zm>\d\d)",
    "-07:00": rf"{_ZONE}:(?P<zm>\d\d)",
    "-07": _ZONE,
    "Z0700": rf"(?:Z|{_ZONE}(?P<zm>\d\d))",
    "Z07:00": rf"(?:Z|{_ZONE}:(?P<zm>\d\d))",
    "Z07": rf"(?:Z|{_ZONE})",
}
_PIVOT = 69
"""Two-digit years from here on are of the 20th century."""


def write(when: datetime, nanosecond: int, layout: str) -> str:
    """Write a time; `nanosecond` replaces the microseconds."""

    def element(match: re.Match[str]) -> str:
        name = match[0]
        if name[0] in ".,":
            digits = f"{nanosecond:09d}"[: len(name) - 1]
            if name[1] == "9":
                digits = digits.rstrip("0")
            return name[0] + digits if digits else ""
        if name in ("_2006", "-07:00:00", "-070000", "Z07:00:00", "Z070000"):
            raise Unanswerable(f"the time layout {name}")
        return _written(when, name)

    return _ELEMENT.sub(element, layout)


def read(text: str, layout: str) -> int:
    """Read a time into nanoseconds since the epoch. Raises `BuiltinError` when it does not fit the layout."""
    pattern = []
    end = 0
    for match in _ELEMENT.finditer(layout):
        pattern.append(re.escape(layout[end : match.start()]))
        end = match.end()
        name = match[0]
        if name[0] in ".,":
            if pattern[-1] != "" or len(pattern) == 1 or pattern[-2] != _PARSERS["05"]:
                raise Unanswerable("a time layout with a fraction that does not follow 05")
            if name[1] == "0":  # exactly so many digits; after 9s, as after none, the seconds take what there is
                pattern[-2] = rf"(?P<second>\d\d)[.,](?P<fraction>\d{{{len(name) - 1}}})"
            continue
        if name not in _PARSERS:
            raise Unanswerable(f"reading the time layout {name}")
        pattern.append(_PARSERS[name])
    pattern.append(re.escape(layout[end:]))
    try:
        found = re.fullmatch("".join(pattern), text, re.ASCII)
    except re.error as error:
        raise Unanswerable("a time layout that names an element twice") from error
    if found is None:
        raise BuiltinError
    return _assemble({name: value for name, value in found.groupdict().items() if value is not None})


def _written(when: datetime, name: str) -> str:
    if name in ("January", "Jan"):
        return MONTHS[when.month - 1][: None if name == "January" else 3]
    if name in ("Monday", "Mon"):
        return DAYS[when.weekday()][: None if name == "Monday" else 3]
    if name == "MST":
        return when.tzname() or ""
    if name[0] in "-Z":
        return _offset(when, name)
    if name in ("PM", "pm"):
        text = "PM" if when.hour >= 12 else "AM"  # noqa: PLR2004
        return text if name == "PM" else text.lower()
    half = when.hour % 12 or 12
    numbers: dict[str, tuple[int, str]] = {
        "2006": (when.year, "04d"),
        "06": (when.year % 100, "02d"),
        "01": (when.month, "02d"),
        "1": (when.month, "d"),
        "02": (when.day, "02d"),
        "_2": (when.day, "2d"),
        "2": (when.day, "d"),
        "002": (when.timetuple().tm_yday, "03d"),
        "__2": (when.timetuple().tm_yday, "3d"),
        "15": (when.hour, "02d"),
        "03": (half, "02d"),
        "3": (half, "d"),
        "04": (when.minute, "02d"),
        "4": (when.minute, "d"),
        "05": (when.second, "02d"),
        "5": (when.second, "d"),
    }
    number, form = numbers[name]
    return format(number, form)


def _offset(when: datetime, name: str) -> str:
    offset = when.utcoffset() or timedelta(0)
    if name[0] == "Z" and not offset:
        return "Z"
    minutes = int(offset.total_seconds()) // 60 if offset >= timedelta(0) else -(int(-offset.total_seconds()) // 60)
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    if name.endswith("07"):
        return f"{sign}{hours:02d}"
    return f"{sign}{hours:02d}{':' if ':' in name else ''}{rest:02d}"


def _assemble(found: dict[str, Any]) -> int:
    year = int(found.get("year", 0))
    if "yy" in found:
        year = int(found["yy"]) + (1900 if int(found["yy"]) >= _PIVOT else 2000)
    names = [name[:3] for name in MONTHS]
    month = names.index(found["name"][:3]) + 1 if "name" in found else int(found.get("month", 1))
    hour = int(found.get("hour", found.get("half", 0)))
    if "half" in found:
        if not 0 <= hour <= 12:  # noqa: PLR2004
            raise BuiltinError
        pm = found.get("pm", "").upper()
        hour = hour + 12 if pm == "PM" and hour < 12 else 0 if pm == "AM" and hour == 12 else hour  # noqa: PLR2004
    if year == 0:
        raise BuiltinError  # out of the range of nanoseconds
    offset = timedelta(hours=int(found.get("zh", 0)), minutes=int(found.get("zm", 0)))
    try:
        zone = timezone(-offset if found.get("sign") == "-" else offset) if offset else UTC
        minute, second = int(found.get("minute", 0)), int(found.get("second", 0))
        when = datetime(year, month, int(found.get("day", 1)), hour, minute, second, tzinfo=zone)
    except ValueError as error:
        raise BuiltinError from error
    whole = when - datetime(1970, 1, 1, tzinfo=UTC)
    nanosecond = int(found.get("fraction", "0")[:9].ljust(9, "0"))
    return (whole.days * 86_400 + whole.seconds) * 1_000_000_000 + nanosecond
