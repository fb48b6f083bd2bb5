"""When a call is tried again, and after how long.

Exponential backoff with full jitter: a uniform choice from 0 to min(max, initial * 2 ** (attempt - 1)) (Brooker,
"Exponential Backoff and Jitter", AWS Architecture Blog, 2015). A backend's `Retry-After` is kept to, up to the
product's `max_backoff_s`.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from apx.catalog.model import Retry
from apx.requests.execution_call import BackendFailure, Headers

MOST_CRASHES = 3
"""A request that has cost this many workers their life is not tried again."""
_MOST_DOUBLINGS = 30


def is_retried(retry: Retry, *, status: int | None = None, failure: BackendFailure | None = None) -> bool:
    """Say whether the product asks to retry this answer or failure."""
    if failure is not None:
        return failure.retry_on is not None and failure.retry_on in retry.on
    return str(status) in retry.on


def backoff_s(retry: Retry, attempt: int, chance: float, headers: Headers = (), *, now: float) -> float:
    """Return how long to wait after attempt number `attempt` (from 1); `chance` is uniform in [0, 1)."""
    ceiling = min(retry.max_backoff_s, retry.initial_backoff_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
    asked = min(retry_after_s(headers, now=now), retry.max_backoff_s)
    return max(chance * ceiling, asked)


def retry_after_s(headers: Headers, *, now: float) -> float:
    """Return the seconds that `Retry-After` asks for (RFC 9110 section 10.2.3), 0 when absent or not readable."""
    value = next((value.strip() for name, value in headers if name == "retry-after"), "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, at.timestamp() - now)
