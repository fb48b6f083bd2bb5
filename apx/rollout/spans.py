"""Which seconds and minutes of counts make up a span of time, and which of them are still kept.

Counts are kept twice: by the second for an hour, by the minute for two days. A span is read as the minutes that lie
wholly in it and the seconds at its two edges.
"""

from __future__ import annotations

import msgspec

MINUTE_S = 60
SECONDS_KEPT_S = 3600
MINUTES_KEPT_S = 2 * 24 * 3600


class Span(msgspec.Struct, frozen=True):
    """What to sum: seconds since the epoch, and minutes (seconds since the epoch, divided by 60)."""

    head: range
    """Seconds before the first whole minute; all of them where there is no whole one."""
    minutes: range
    tail: range
    """Seconds after the last whole minute."""

    @property
    def seconds(self) -> list[int]:
        """Return the seconds at both edges."""
        return [*self.head, *self.tail]


def span(since_ms: int, until_ms: int | None, now_ms: int) -> Span:
    """Return what to sum for the whole seconds in [since_ms, until_ms), or up to now, the second under way included.

    Seconds of a minute that began over an hour ago are left out, whole minutes that began over two days ago as well.
    """
    now = now_ms // 1000
    first = max(-(-since_ms // 1000), now - MINUTES_KEPT_S)
    end = now + 1 if until_ms is None else min(until_ms // 1000, now + 1)
    # Nothing lies after now: the minute under way is whole when its past is in the span.
    past = -(-end // MINUTE_S) if end > now else end // MINUTE_S
    minutes = range(-(-first // MINUTE_S), past)
    oldest = -(-(now - SECONDS_KEPT_S) // MINUTE_S) * MINUTE_S
    if not minutes:
        return Span(range(max(first, oldest), end), range(0), range(0))
    head = range(max(first, oldest), minutes.start * MINUTE_S)
    return Span(head, minutes, range(max(minutes.stop * MINUTE_S, oldest), end))


def closed(now_ms: int, settle_s: int = 5) -> int:
    """Return the minute before which nothing changes any more: those before it ended `settle_s` ago or earlier."""
    return (now_ms // 1000 - settle_s) // MINUTE_S
