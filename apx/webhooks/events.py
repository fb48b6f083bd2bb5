"""What webhooks are told: `{type, timestamp, data}`. No body of a request or result is in one, nor a key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from apx.catalog.model import Mark
from apx.limits.budgets import Standing
from apx.rollout.active import AuditEntry
from apx.usage.events import UsageEvent

Data = Mapping[str, str | int | float]
_MOVEMENTS = {
    "start": "rollout.started",
    "pause": "rollout.paused",
    "resume": "rollout.resumed",
    "promote": "rollout.promoted",
    "abort": "rollout.aborted",
    "rollback": "rollout.rolled_back",
    "activate": "rollout.activated",
}
"""What orgs are told of rollouts; that one goes on to its next step is the platform's own business."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to an org. The same happening gives the same event, whoever tells of it and how often."""

    id: str
    """Unique among what happened."""
    type: str
    org: str
    product: str = ""
    at_ms: int
    data: Data

    def body(self) -> bytes:
        """Return what is sent, the same bytes each time."""
        told = {"type": self.type, "timestamp": timestamp(self.at_ms), "data": dict(self.data)}
        return msgspec.json.encode(told)

    def message_id(self, webhook_id: str) -> str:
        """Return the `webhook-id` under which a webhook gets this event, however often it is sent."""
        return "msg_" + hashlib.sha256(f"apx.dev/webhooks/v1\n{webhook_id}\n{self.id}".encode()).hexdigest()[:32]


def finished(event: UsageEvent) -> Event:
    """Return what webhooks are told of a request that has its result."""
    return Event(
        id=f"request\n{event.request}",
        type=f"request.{event.state}",
        org=event.org,
        product=event.product,
        at_ms=event.finished_ms,
        data={
            "request": event.request,
            "org": event.org,
            "product": event.product,
            "state": event.state,
            "status_class": event.status_class,
            "attempts": event.attempts,
            "accepted_at": timestamp(event.accepted_ms),
            "finished_at": timestamp(event.finished_ms),
            "location": f"/v1/requests/{event.request}",
        },
    )


def marked(standing: Standing, mark: Mark, now_ms: int) -> Event:
    """Return what webhooks are told of a budget that has passed a mark."""
    budget, window = standing.budget, standing.span.label
    return Event(
        id=f"budget\n{standing.org}\n{budget.name}\n{window}\n{mark.percent:g}\n{mark.does}",
        type="budget.mark",
        org=standing.org,
        at_ms=now_ms,
        data={
            "org": standing.org,
            "budget": budget.name,
            "window": window,
            "percent": mark.percent,
            "does": mark.does,
            "spent_usd": round(standing.spent_usd, 6),
            "budget_usd": budget.usd,
        },
    )


def moved(position: str, change: AuditEntry, org: str) -> Event | None:
    """Return what an org's webhooks are told of a change of a rollout; None for what is not told.

    Who did it and why is for operators: neither is in it.
    """
    told = _MOVEMENTS.get(change.action)
    if told is None:
        return None
    return Event(
        id=f"rollout\n{change.product}\n{position}",
        type=told,
        org=org,
        product=change.product,
        at_ms=change.at_ms,
        data={
            "org": org,
            "product": change.product,
            "rollout": change.rollout,
            "state": change.state,
            "before": change.before or "",
            "after": change.after,
        },
    )


def timestamp(at_ms: int) -> str:
    """Write a time as ISO 8601 to the millisecond: `2026-11-25T13:00:00.000Z`."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
