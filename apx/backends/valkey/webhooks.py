"""Webhooks in Valkey: `apx:webhooks` maps id → record, `apx:webhooks:of:<org>` is the set of an org's ids.

`apx:webhooks:delivered` maps id → when a delivery last succeeded. The `WebhookStore` port.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

import msgspec
from valkey.asyncio import Valkey

from apx.backends.valkey.connection import Script, unavailable
from apx.backends.valkey.log import Log
from apx.webhooks.model import Webhook, read_webhook, read_webhooks

_WEBHOOKS, _OF, _DELIVERED = "apx:webhooks", "apx:webhooks:of:", "apx:webhooks:delivered"
_encode = msgspec.msgpack.Encoder().encode


class ValkeyWebhooks:
    """Each change is one script, and is on the store's disk when it returns."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._change = Script(client, "webhooks", log=Log(client))
        self._delivered = Script(client, "delivered")

    async def find(self, webhook_id: str) -> Webhook | None:
        """Return a webhook."""
        with unavailable("looking up a webhook"):
            found = await cast("Awaitable[bytes | None]", self._client.hget(_WEBHOOKS, webhook_id))
        return None if found is None else read_webhook(found)

    async def of_org(self, org: str) -> list[Webhook]:
        """Return an org's webhooks, the oldest first."""
        with unavailable("listing webhooks"):
            ids = list(await cast("Awaitable[set[bytes]]", self._client.smembers(_OF + org)))
            if not ids:
                return []
            asked = self._client.hmget(_WEBHOOKS, cast("list[str]", ids))
            found = await cast("Awaitable[list[bytes | None]]", asked)
        return read_webhooks(one for one in found if one is not None)

    async def list_webhooks(self) -> list[Webhook]:
        """Return all webhooks, by org, the oldest first."""
        with unavailable("listing webhooks"):
            return read_webhooks(await cast("Awaitable[list[bytes]]", self._client.hvals(_WEBHOOKS)))

    async def add(self, webhook: Webhook) -> None:
        """Store a new webhook."""
        await self._change.repeat(webhook.id, webhook.org, b"", _encode(webhook))

    async def replace(self, before: Webhook, after: Webhook) -> bool:
        """Store `after` in place of `before`; False: it is no more so."""
        return bool(await self._change.repeat(before.id, before.org, _encode(before), _encode(after)))

    async def remove(self, webhook_id: str) -> Webhook | None:
        """Forget a webhook for good; return what it was."""
        while (standing := await self.find(webhook_id)) is not None:
            if await self._change.repeat(standing.id, standing.org, _encode(standing), b""):
                return standing
        return None

    async def delivered(self, webhook_id: str, at_ms: int) -> None:
        """Note that a delivery succeeded."""
        await self._delivered.repeat(webhook_id, at_ms)

    async def last_delivered_ms(self, webhook_id: str) -> int:
        """Return when a delivery last succeeded."""
        with unavailable("looking up a webhook"):
            noted = await cast("Awaitable[bytes | None]", self._client.hget(_DELIVERED, webhook_id))
        return int(noted or 0)
