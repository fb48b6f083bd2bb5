"""Where webhooks are kept."""

from __future__ import annotations

from typing import Protocol

from apx.webhooks.model import Webhook


class WebhookStore(Protocol):
    """Webhooks by id.

    - `add`, `replace` and `remove` are durable when they return, and seen by every `find` and `of_org` after it.
    - `replace` is a compare-and-swap of the whole record. If it raises `Unavailable` it may or may not have been done.
    - `delivered` is a note, not a record: one of the last seconds may be lost, a later one is never replaced by an
      earlier one, and it does not stand in the way of `replace`.
    - A store that does not answer is `Unavailable`, never an unknown webhook.
    """

    async def find(self, webhook_id: str) -> Webhook | None:
        """Return a webhook; None when there is none of that id."""
        ...

    async def of_org(self, org: str) -> list[Webhook]:
        """Return an org's webhooks, the oldest first."""
        ...

    async def list_webhooks(self) -> list[Webhook]:
        """Return all webhooks, by org, the oldest first."""
        ...

    async def add(self, webhook: Webhook) -> None:
        """Store a new webhook."""
        ...

    async def replace(self, before: Webhook, after: Webhook) -> bool:
        """Store `after`, of the same id and org, in place of `before`; False: it is no more so."""
        ...

    async def remove(self, webhook_id: str) -> Webhook | None:
        """Forget a webhook for good; return what it was."""
        ...

    async def delivered(self, webhook_id: str, at_ms: int) -> None:
        """Note that a delivery succeeded."""
        ...

    async def last_delivered_ms(self, webhook_id: str) -> int:
        """Return when a delivery last succeeded, as far as was noted; 0 for never."""
        ...
