"""Usage events: who used what, one for each finished request. No body, no address and no secret is in one.

A request may have its event twice: whoever reads counts each `request` once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, Protocol, get_args

import msgspec

from apx.catalog.model import is_internal
from apx.requests.model import Envelope, Result, State

Kind = Literal["string", "int64", "float64", "timestamp"]


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What is counted of one finished request (msgpack on its way; fields are only ever appended)."""

    request: str
    org: str
    product: str
    plan: str
    key_id: str
    release: str
    mode: Literal["async", "sync"]
    state: State
    status_class: str
    accepted_ms: int
    finished_ms: int
    request_bytes: int
    response_bytes: int
    attempts: int
    backend_s: float
    cost_units: float
    cost_usd: float | None = None


class Column(msgspec.Struct, frozen=True):
    """One field of an event as it is stored in tables."""

    name: str
    kind: Kind
    says: str
    nullable: bool = False


COLUMNS = (
    Column("request", "string", "The request's id: an event that came twice has it twice."),
    Column("org", "string", "Whose it was."),
    Column("product", "string", "What was called."),
    Column("plan", "string", "Under which plan."),
    Column("key_id", "string", "The public name of the key that it was accepted with; never the key."),
    Column("release", "string", "The digest of the release that it was carried out by."),
    Column("mode", "string", "async or sync."),
    Column("state", "string", "succeeded, failed, expired or cancelled."),
    Column("status_class", "string", "Of the backend's status: 2xx, 4xx …; empty where there was no answer."),
    Column("accepted_at", "timestamp", "When it was accepted."),
    Column("finished_at", "timestamp", "When it ended: the time that it is counted under."),
    Column("request_bytes", "int64", "Size of the body that came."),
    Column("response_bytes", "int64", "Size of the body that went."),
    Column("attempts", "int64", "How many times it was given to a worker."),
    Column("backend_s", "float64", "How long the last call of the backend took, in seconds."),
    Column("cost_units", "float64", "What the policy's decision counts it as."),
    Column("cost_usd", "float64", "What it cost, by policy, product or answer; null where none says it.", True),  # noqa: FBT003
)
"""The fields of `UsageEvent` in their order; its times in ms are timestamps here."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What an event tells of the request itself, without its body."""

    request: str
    org: str
    product: str
    plan: str
    key_id: str
    release: str
    accepted_ms: int
    request_bytes: int
    cost_units: float
    cost_usd: float | None = None


def accepted(envelope: Envelope) -> Accepted:
    """Return what an event tells of a request that was queued."""
    return Accepted(
        request=envelope.id,
        org=envelope.org,
        product=envelope.product,
        plan=envelope.plan,
        key_id=envelope.key_id,
        release=envelope.release,
        accepted_ms=envelope.accepted_ms,
        request_bytes=len(envelope.body),
        cost_units=envelope.cost,
        cost_usd=envelope.cost_usd,
    )


def event_of(request: Accepted, result: Result) -> UsageEvent:
    """Return the event of a request that has its result. Says the same whenever it is asked."""
    called_ms = 0 if result.started_ms is None else max(0, result.finished_ms - result.started_ms)
    return UsageEvent(
        request=request.request,
        org=request.org,
        product=request.product,
        plan=request.plan,
        key_id=request.key_id,
        release=result.release or request.release,
        mode="async",
        state=result.state,
        status_class="" if result.status is None else f"{result.status // 100}xx",
        accepted_ms=request.accepted_ms,
        finished_ms=result.finished_ms,
        request_bytes=request.request_bytes,
        response_bytes=result.body_bytes,
        attempts=result.attempts,
        backend_s=called_ms / 1000,
        cost_units=request.cost_units,
        cost_usd=request.cost_usd if result.cost_usd is None else result.cost_usd,
    )


def is_counted(product: str) -> bool:
    """Tell whether what ends of a product is usage: what APX does of itself is not."""
    return not is_internal(product)


def row_of(event: UsageEvent) -> tuple[str | int | float | None, ...]:
    """Return an event's values in the order of `COLUMNS`; times in microseconds since 1970."""
    values = msgspec.structs.astuple(event)
    return tuple(
        value * 1000 if column.kind == "timestamp" else value for column, value in zip(COLUMNS, values, strict=True)
    )


def day_of(event: UsageEvent) -> str:
    """Return the day that an event is counted under, in UTC: `2026-11-25`."""
    return datetime.fromtimestamp(event.finished_ms / 1000, UTC).strftime("%Y-%m-%d")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest events that wait to be stored."""

    name: str
    """Names these very events, and no others: safe in a file's name."""
    events: list[UsageEvent]
    positions: tuple[str, ...]
    """What the log knows them by."""


Reader = Literal["files", "webhooks"]
"""Who reads the events: what stores them, and what tells webhooks of them. Each reads all of them."""
READERS: tuple[Reader, ...] = get_args(Reader)


class UsageLog(Protocol):
    """Events from where results are written to where they are read, as one of the readers sees them.

    - An event is as durable as the result that it is about. It is written in the same atomic step as the result, or
      made from the result by whoever finds that it was not: after any crash it is there, at least once.
    - A request that was cancelled has its event when it leaves its lane, which may be later than its result.
    - An event may come twice. Both are the same, and are one by their `request`.
    - Nothing is promised of their order.
    - What was read stays until it is forgotten; an event is forgotten only by a `forget` of a page that has it, and
      for this reader alone: the others' stay.
    - What APX does of itself has no events.
    """

    async def waiting(self, limit: int) -> Page | None:
        """Return the oldest events, about `limit` of them; None when there are none. Raises `Unavailable`."""
        ...

    async def forget(self, page: Page) -> None:
        """Let go of a page that was dealt with. Raises `Unavailable`; safe to repeat."""
        ...
