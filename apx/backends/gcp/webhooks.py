"""Webhooks in Firestore: `webhooks/<id>` holds a `record` (msgpack), its `org`, and `delivered_ms`.

The `WebhookStore` port.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import msgspec
from google.api_core.exceptions import Aborted, AlreadyExists, FailedPrecondition, NotFound
from google.cloud.firestore import AsyncClient, AsyncDocumentReference, FieldFilter
from google.cloud.firestore_v1.base_document import DocumentSnapshot

from apx.backends.gcp import names
from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.firestore import bounded, once
from apx.webhooks.model import Webhook, read_webhook, read_webhooks

_ID = re.compile("wh_[0-9a-z]{1,60}")
_Snapshot = DocumentSnapshot[AsyncDocumentReference]


class FirestoreWebhooks:
    """Each change is one write, under the condition that the document is as it was read."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._webhooks = client.collection(names.WEBHOOKS)

    async def find(self, webhook_id: str) -> Webhook | None:
        """Return a webhook. What has not the form of an id may be no document's name either, and is None."""
        if _ID.fullmatch(webhook_id) is None:
            return None
        with unavailable("looking up a webhook"):
            found = await self._webhooks.document(webhook_id).get(**bounded())
        return _webhook(found) if found.exists else None

    async def of_org(self, org: str) -> list[Webhook]:
        """Return an org's webhooks, the oldest first."""
        with unavailable("listing webhooks"):
            return _sorted(await self._webhooks.where(filter=FieldFilter("org", "==", org)).get(**bounded()))

    async def list_webhooks(self) -> list[Webhook]:
        """Return all webhooks, by org, the oldest first."""
        with unavailable("listing webhooks"):
            return _sorted(await self._webhooks.get(**bounded()))

    async def add(self, webhook: Webhook) -> None:
        """Store a new webhook."""
        fields = {names.RECORD: msgspec.msgpack.encode(webhook), "org": webhook.org, names.DELIVERED: 0}
        with unavailable("storing a webhook"):
            try:
                await self._webhooks.document(webhook.id).create(fields, **bounded())
            except AlreadyExists:
                return  # ids are random: it is ours, and the answer to a first try was lost

    async def replace(self, before: Webhook, after: Webhook) -> bool:
        """Store `after` in place of `before`; False: it is no more so."""
        with unavailable("changing a webhook"):
            while True:
                found = await self._webhooks.document(before.id).get(**bounded())
                if not found.exists or _webhook(found) != before:
                    return False
                unchanged = self._client.write_option(last_update_time=found.update_time)
                try:
                    await found.reference.update(
                        {names.RECORD: msgspec.msgpack.encode(after)}, option=unchanged, **once()
                    )
                except (Aborted, FailedPrecondition):
                    await asyncio.sleep(0)  # perhaps it was only a note of a delivery: look again
                except NotFound:
                    return False
                else:
                    return True

    async def remove(self, webhook_id: str) -> Webhook | None:
        """Forget a webhook for good; return what it was."""
        standing = await self.find(webhook_id)
        if standing is not None:
            with unavailable("removing a webhook"):
                await self._webhooks.document(webhook_id).delete(**bounded())
        return standing

    async def delivered(self, webhook_id: str, at_ms: int) -> None:
        """Note that a delivery succeeded."""
        with unavailable("noting a delivery"):
            while True:
                found = await self._webhooks.document(webhook_id).get(**bounded())
                if not found.exists or _noted_ms(found) >= at_ms:
                    return
                unchanged = self._client.write_option(last_update_time=found.update_time)
                try:
                    await found.reference.update({names.DELIVERED: at_ms}, option=unchanged, **once())
                except (Aborted, FailedPrecondition):
                    await asyncio.sleep(0)  # somebody else was first: look again
                except NotFound:
                    return
                else:
                    return

    async def last_delivered_ms(self, webhook_id: str) -> int:
        """Return when a delivery last succeeded."""
        if _ID.fullmatch(webhook_id) is None:
            return 0
        with unavailable("looking up a webhook"):
            found = await self._webhooks.document(webhook_id).get(**bounded())
        return _noted_ms(found) if found.exists else 0


def _noted_ms(found: _Snapshot) -> int:
    return int(found.get(names.DELIVERED))


def _webhook(found: _Snapshot) -> Webhook:
    return read_webhook(found.get(names.RECORD))


def _sorted(found: Iterable[_Snapshot]) -> list[Webhook]:
    return read_webhooks(one.get(names.RECORD) for one in found)
