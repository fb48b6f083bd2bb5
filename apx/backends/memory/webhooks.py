"""Webhooks in this process. The fake of the `WebhookStore` port."""

from __future__ import annotations

from apx.webhooks.model import Webhook
from apx.webhooks.store import WebhookStore


class MemoryWebhooks(WebhookStore):
    """Two dictionaries."""

    def __init__(self) -> None:
        self._webhooks: dict[str, Webhook] = {}
        self._delivered: dict[str, int] = {}

    async def find(self, webhook_id: str) -> Webhook | None:
        """Return a webhook."""
        return self._webhooks.get(webhook_id)

    async def of_org(self, org: str) -> list[Webhook]:
        """Return an org's webhooks, the oldest first."""
        return [webhook for webhook in await self.list_webhooks() if webhook.org == org]

    async def list_webhooks(self) -> list[Webhook]:
        """Return all webhooks, by org, the oldest first."""
        return sorted(self._webhooks.values(), key=lambda one: (one.org, one.created_ms, one.id))

    async def add(self, webhook: Webhook) -> None:
        """Store a new webhook."""
        self._webhooks[webhook.id] = webhook

    async def replace(self, before: Webhook, after: Webhook) -> bool:
        """Store `after` in place of `before`; False: it is no more so."""
        if self._webhooks.get(before.id) != before:
            return False
        self._webhooks[after.id] = after
        return True

    async def remove(self, webhook_id: str) -> Webhook | None:
        """Forget a webhook for good; return what it was."""
        self._delivered.pop(webhook_id, None)
        return self._webhooks.pop(webhook_id, None)

    async def delivered(self, webhook_id: str, at_ms: int) -> None:
        """Note that a delivery succeeded."""
        if webhook_id in self._webhooks:
            self._delivered[webhook_id] = max(at_ms, self._delivered.get(webhook_id, 0))

    async def last_delivered_ms(self, webhook_id: str) -> int:
        """Return when a delivery last succeeded."""
        return self._delivered.get(webhook_id, 0)
