"""Webhooks whose changes are recorded: no secret, and of an address its host alone, as paths may be secret too."""

from __future__ import annotations

from urllib.parse import urlsplit

from apx.audit.record import Recorder
from apx.webhooks.events import timestamp
from apx.webhooks.manage import Webhooks
from apx.webhooks.model import Webhook
from apx.webhooks.store import WebhookStore


class RecordedWebhooks(WebhookStore):
    """A store of webhooks whose changes are recorded."""

    def __init__(self, webhooks: WebhookStore, recorder: Recorder) -> None:
        self._webhooks = webhooks
        self._recorder = recorder

    async def find(self, webhook_id: str) -> Webhook | None:
        """Return a webhook."""
        return await self._webhooks.find(webhook_id)

    async def of_org(self, org: str) -> list[Webhook]:
        """Return an org's webhooks."""
        return await self._webhooks.of_org(org)

    async def list_webhooks(self) -> list[Webhook]:
        """Return all webhooks."""
        return await self._webhooks.list_webhooks()

    async def delivered(self, webhook_id: str, at_ms: int) -> None:
        """Note that a delivery succeeded."""
        await self._webhooks.delivered(webhook_id, at_ms)

    async def last_delivered_ms(self, webhook_id: str) -> int:
        """Return when a delivery last succeeded."""
        return await self._webhooks.last_delivered_ms(webhook_id)

    async def add(self, webhook: Webhook) -> None:
        """Record and store a new webhook."""
        async with self._recorder.recorded("webhook-create", _named(webhook), org=webhook.org, after=_host(webhook)):
            await self._webhooks.add(webhook)

    async def replace(self, before: Webhook, after: Webhook) -> bool:
        """Record and store a change of a webhook."""
        action, told = _change(before, after)
        async with self._recorder.recorded(action, _named(before), org=before.org, **told):
            return await self._webhooks.replace(before, after)

    async def remove(self, webhook_id: str) -> Webhook | None:
        """Record and forget a webhook; one that is not there changes nothing."""
        webhook = await self._webhooks.find(webhook_id)
        if webhook is None:
            return None
        async with self._recorder.recorded("webhook-delete", _named(webhook), org=webhook.org, before=_host(webhook)):
            return await self._webhooks.remove(webhook_id)


async def replay_recorded(recorder: Recorder, webhooks: Webhooks, webhook_id: str, *, since_ms: int) -> int:
    """Record that what was given up of a webhook is sent again, and do it. Raises as `Webhooks.replay`."""
    webhook = await webhooks.one(webhook_id)
    since = f"what was given up from {timestamp(since_ms)} on" if since_ms else "all that was given up"
    async with recorder.recorded("webhook-replay", _named(webhook), org=webhook.org, after=since):
        return await webhooks.replay(webhook_id, since_ms=since_ms)


def _change(before: Webhook, after: Webhook) -> tuple[str, dict[str, str]]:
    """Return the action of a change, and what is told of it."""
    if before.secret != after.secret:
        return "webhook-rotate", {}
    if before.state != after.state:
        action = "webhook-enable" if after.enabled else "webhook-disable"
        return action, {"before": before.state, "after": after.state, "why": after.reason}
    moved = {"why": "another path"} if before.url != after.url and _host(before) == _host(after) else {}
    return "webhook-change", {"before": _asks(before), "after": _asks(after), **moved}


def _asks(webhook: Webhook) -> str:
    events, products = ", ".join(webhook.events) or "all", ", ".join(webhook.products) or "all products"
    return f"{_host(webhook)}: {events} of {products}"


def _named(webhook: Webhook) -> str:
    return f"webhook {webhook.id}"


def _host(webhook: Webhook) -> str:
    return urlsplit(webhook.url).netloc
