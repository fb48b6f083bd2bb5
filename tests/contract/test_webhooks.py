"""What every `WebhookStore` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from apx.backends.gcp.webhooks import FirestoreWebhooks
from apx.backends.memory.webhooks import MemoryWebhooks
from apx.backends.valkey.connection import connect
from apx.backends.valkey.webhooks import ValkeyWebhooks
from apx.errors import Unavailable
from apx.webhooks.model import Webhook
from apx.webhooks.store import WebhookStore
from tests.contract.conftest import Server, connected, firestore_client


@pytest.fixture(params=["memory", "valkey", "firestore"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[WebhookStore]:
    if request.param == "memory":
        yield MemoryWebhooks()
        return
    if request.param == "firestore":
        request.getfixturevalue("firestore_emulator")
        async with firestore_client() as database:
            yield FirestoreWebhooks(database)
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield ValkeyWebhooks(client)


def webhook(webhook_id: str = "wh_1", org: str = "acme", created_ms: int = 5) -> Webhook:
    return Webhook(
        id=webhook_id,
        org=org,
        url="https://hooks.example/x",
        events=("request.failed",),
        products=("orders",),
        ordered=True,
        secret=b"\x00\xff sealed",
        created_ms=created_ms,
        state_ms=created_ms,
    )


def disabled(one: Webhook, reason: str = "dead") -> Webhook:
    return msgspec.structs.replace(one, state="disabled", reason=reason, state_ms=9)


async def test_an_unknown_webhook_is_none(store: WebhookStore) -> None:
    assert await store.find("wh_1") is None
    assert await store.of_org("acme") == await store.list_webhooks() == []
    assert await store.remove("wh_1") is None
    assert await store.last_delivered_ms("wh_1") == 0


@pytest.mark.parametrize("webhook_id", ["", "..", "a/b", "apx:webhooks", "wh_" + "9" * 100])
async def test_what_is_no_id_is_no_webhook(store: WebhookStore, webhook_id: str) -> None:
    await store.add(webhook())
    assert await store.find(webhook_id) is None
    assert await store.remove(webhook_id) is None
    assert await store.last_delivered_ms(webhook_id) == 0


async def test_a_webhook_is_found_as_it_was_added(store: WebhookStore) -> None:
    await store.add(webhook())
    assert await store.find("wh_1") == webhook()


async def test_an_orgs_webhooks_are_listed_from_the_oldest(store: WebhookStore) -> None:
    ones = [webhook("wh_1", created_ms=9), webhook("wh_2", created_ms=3), webhook("wh_3", "globex")]
    for one in ones:
        await store.add(one)
    assert await store.of_org("acme") == [ones[1], ones[0]]
    assert await store.of_org("other") == []
    assert await store.list_webhooks() == [ones[1], ones[0], ones[2]]


async def test_a_webhook_is_replaced_when_it_is_as_it_was_looked_at(store: WebhookStore) -> None:
    await store.add(webhook())
    assert await store.replace(webhook(), disabled(webhook()))
    assert await store.find("wh_1") == disabled(webhook())
    assert await store.of_org("acme") == [disabled(webhook())]


async def test_what_was_changed_meanwhile_stays_so(store: WebhookStore) -> None:
    await store.add(webhook())
    assert await store.replace(webhook(), disabled(webhook()))
    assert not await store.replace(webhook(), disabled(webhook(), "another reason"))
    await store.remove("wh_1")
    assert not await store.replace(disabled(webhook()), webhook())
    assert await store.list_webhooks() == []


async def test_of_many_changes_at_once_one_is_done(store: WebhookStore) -> None:
    await store.add(webhook())
    wishes = [disabled(webhook(), f"{number}") for number in range(8)]
    done = await asyncio.gather(*(store.replace(webhook(), wish) for wish in wishes))
    assert done.count(True) == 1
    assert await store.find("wh_1") == wishes[done.index(True)]


async def test_a_webhook_that_is_removed_is_gone_with_all_that_was_noted(store: WebhookStore) -> None:
    await store.add(webhook())
    await store.delivered("wh_1", 7)
    assert await store.remove("wh_1") == webhook()
    assert await store.find("wh_1") is None
    assert await store.of_org("acme") == []
    assert await store.last_delivered_ms("wh_1") == 0
    await store.delivered("wh_1", 8)
    assert await store.last_delivered_ms("wh_1") == 0


async def test_the_latest_delivery_is_noted_in_whatever_order_they_are_told(store: WebhookStore) -> None:
    await store.add(webhook())
    await asyncio.gather(*(store.delivered("wh_1", at_ms) for at_ms in (5, 9, 7)))
    assert await store.last_delivered_ms("wh_1") == 9


async def test_a_note_stands_in_the_way_of_no_change_and_a_change_of_no_note(store: WebhookStore) -> None:
    await store.add(webhook())
    changed, *_ = await asyncio.gather(
        store.replace(webhook(), disabled(webhook())), *(store.delivered("wh_1", at_ms) for at_ms in range(1, 5))
    )
    assert changed
    assert await store.find("wh_1") == disabled(webhook())
    assert await store.last_delivered_ms("wh_1") == 4


async def test_a_webhook_outlives_a_kill_of_the_server(own_server: Server) -> None:
    async with connected(own_server) as client:
        await ValkeyWebhooks(client).add(webhook())
    own_server.kill()
    own_server.start()
    async with connected(own_server) as client:
        assert await ValkeyWebhooks(client).find("wh_1") == webhook()


async def test_a_store_that_is_away_is_no_unknown_webhook(own_server: Server) -> None:
    client = connect(own_server.url, timeout_s=0.2)
    store = ValkeyWebhooks(client)
    own_server.kill()
    for asked in (store.find("wh_1"), store.of_org("acme"), store.list_webhooks(), store.last_delivered_ms("wh_1")):
        with pytest.raises(Unavailable):
            await asked
    await client.aclose()
