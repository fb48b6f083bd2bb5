"""Usage events for examples."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import msgspec

from apx.usage.events import UsageEvent
from apx.usage.questions import Question, question

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
_numbers = itertools.count()
_EXAMPLE = UsageEvent(
    request="",
    org="acme",
    product="orders",
    plan="gold",
    key_id="key_1",
    release="sha256:aa",
    mode="async",
    state="succeeded",
    status_class="2xx",
    accepted_ms=1,
    finished_ms=2,
    request_bytes=10,
    response_bytes=20,
    attempts=1,
    backend_s=0.5,
    cost_units=1.0,
)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def event(at: datetime = NOON, **changes: Any) -> UsageEvent:
    """Return an event of a new request that ended at `at`."""
    values = {"request": f"req_{next(_numbers)}", "accepted_ms": ms(at) - 1000, "finished_ms": ms(at), **changes}
    return msgspec.structs.replace(_EXAMPLE, **values)


def asked(*by: str, begin: str | None = "2026-11-01", end: str | None = "2026-12-01", **only: str) -> Question:
    return question(NOON, begin=begin, end=end, by=by, **only)
