"""What webhooks are told: `{type, timestamp, data}`. No body of a request or result is in one, nor a key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from apx.usage.events import UsageEvent

Data = Mapping[str, str | int]


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


def timestamp(at_ms: int) -> str:
    """Write a time as ISO 8601 to the millisecond: `2026-11-25T13:00:00.000Z`."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
