"""Windows in which nothing moves: on given days, from one time of day to another, in a time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from apx.catalog.model import Freeze, Weekday

_DAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def frozen_until(windows: Sequence[Freeze], now_ms: int) -> tuple[Freeze, datetime] | None:
    """Return the window that `now_ms` lies in and its end; of several the one that ends last. None outside all."""
    inside = [(window, end) for window in windows if (end := _end(window, now_ms)) is not None]
    return max(inside, key=lambda found: found[1], default=None)


def _end(window: Freeze, now_ms: int) -> datetime | None:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    zone = ZoneInfo(window.timezone)
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        if _DAYS[day.weekday()] not in window.days:
            continue
        begin, end = time.fromisoformat(window.begin), time.fromisoformat(window.end)
        last_day = day if end > begin else day + timedelta(days=1)
        begins, ends = datetime.combine(day, begin, zone), datetime.combine(last_day, end, zone)
        if begins <= now < ends:
            return ends
    return None
