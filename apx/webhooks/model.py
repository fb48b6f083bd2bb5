"""A webhook: an address of an org's that is told what happens, and what it is told of.

enabled ⇄ disabled      by people, and by APX when the receiver is dead
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec
import structlog

from apx.errors import Unavailable

PRODUCT = "apx-webhooks"
"""A delivery is a request of this product of APX's own, under the webhook's id in place of an org."""
EventType = Literal[
    "request.succeeded",
    "request.failed",
    "request.expired",
    "request.cancelled",
    "budget.mark",
    "rollout.started",
    "rollout.paused",
    "rollout.resumed",
    "rollout.promoted",
    "rollout.aborted",
    "rollout.rolled_back",
    "rollout.activated",
    "webhook.disabled",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
"""What a webhook may ask for; without a choice it gets all, those that come with a later version too."""
PING = "webhook.ping"
"""What a webhook is sent on demand, whatever it asks for."""
MOST_PER_ORG = 20
MOST_WAITING = 10_000
"""Deliveries of one webhook that wait; what comes above it is not queued, and the webhook is disabled."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One address, and its secrets, which only `Vault` can read."""

    id: str
    org: str
    url: str
    events: tuple[str, ...] = ()
    """Types that it is told of; none: all of them."""
    products: tuple[str, ...] = ()
    """Products whose requests it is told of; none: all of them."""
    ordered: bool = False
    """One delivery at a time, in the order of what happened: a failing one holds up those behind it."""
    secret: bytes
    """Sealed."""
    previous: bytes = b""
    """The secret before, sealed; it signs too until `previous_until_ms`."""
    previous_until_ms: int = 0
    state: Literal["enabled", "disabled"] = "enabled"
    reason: str = ""
    """Why it is disabled."""
    created_ms: int
    state_ms: int
    """When its state was last set, or its address changed: what was given up before says nothing of the receiver."""

    @property
    def enabled(self) -> bool:
        """Tell whether it is told anything."""
        return self.state == "enabled"

    def wants(self, event_type: str, product: str) -> bool:
        """Tell whether it asks for an event; one of no product passes by what products it names."""
        by_type = not self.events or event_type in self.events
        return by_type and (not self.products or not product or product in self.products)


def read_webhook(record: bytes) -> Webhook:
    """Return the webhook of a stored record (msgpack). Raises `Unavailable` for a newer version's."""
    try:
        return _decode(record)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"this version cannot read a webhook's record: {error}") from error


def read_webhooks(records: Iterable[bytes]) -> list[Webhook]:
    """Return webhooks by org, the oldest first; one that cannot be read is logged, and hinders no other."""
    found: list[Webhook] = []
    for record in records:
        try:
            found.append(read_webhook(record))
        except Unavailable as error:
            _log.exception("webhooks.unreadable", detail=str(error))
    return sorted(found, key=lambda one: (one.org, one.created_ms, one.id))


def shown_webhook(webhook: Webhook) -> dict[str, object]:
    """Show operators what is known of a webhook; its secrets were shown when they were made."""
    return {
        "id": webhook.id,
        "org": webhook.org,
        "url": webhook.url,
        "events": list(webhook.events),
        "products": list(webhook.products),
        "ordered": webhook.ordered,
        "state": webhook.state,
        "reason": webhook.reason,
        "created_ms": webhook.created_ms,
        "state_ms": webhook.state_ms,
        "previous_secret_until_ms": webhook.previous_until_ms,
    }


_decode = msgspec.msgpack.Decoder(Webhook).decode
_log = structlog.get_logger(__name__)
