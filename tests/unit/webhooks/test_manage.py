from __future__ import annotations

import msgspec
import pytest

from apx.admission.keys import KeyRecord
from apx.audit.record import By, Recorder
from apx.audit.webhooks import RecordedWebhooks, replay_recorded
from apx.errors import Conflict, NotFound, Unavailable, Unsupported
from apx.webhooks.manage import Change, Made, Webhooks, Wish
from apx.webhooks.model import MOST_PER_ORG, Webhook, read_webhook, read_webhooks, shown_webhook
from tests.unit.webhooks.examples import URL, VAULT, Telling, webhook


@pytest.fixture
async def telling() -> Telling:
    telling = Telling()
    await telling.keys.put(KeyRecord(id="key_1", sha256="0", org="acme", region="eu", plans={}, created_ms=0))
    return telling


async def create(telling: Telling, **wish: object) -> Made:
    asked = msgspec.convert({"org": "acme", "url": URL, **wish}, Wish)
    return await telling.manage.create(asked, telling.orgs, telling.keys)


async def test_a_webhook_is_made_with_a_secret_that_is_stored_sealed(telling: Telling) -> None:
    made = await create(telling, events=["request.failed", "request.failed"], products=["orders"], ordered=True)
    kept = await telling.manage.one(made.webhook.id)
    assert VAULT.open(kept.id, kept.secret) == made.secret
    assert made.secret.startswith("whsec_")
    assert (kept.events, kept.products, kept.ordered, kept.enabled) == (("request.failed",), ("orders",), True, True)
    shown = str(shown_webhook(kept))
    assert made.secret not in shown
    assert str(kept.secret) not in shown


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"events": ["request.done"]}, "events: 'request.done' is none of request.succeeded"),
        ({"events": ["webhook.ping"]}, "events: 'webhook.ping'"),
        ({"products": ["Orders"]}, "products: 'Orders'"),
        ({"products": ["a"] * 101}, "products: 101"),
        ({"url": "https://10.0.0.1/x"}, "url: this address is not on the public internet"),
    ],
)
async def test_what_no_webhook_may_be_is_refused_with_a_reason(
    telling: Telling, wish: dict[str, object], says: str
) -> None:
    with pytest.raises(Unsupported, match=says):
        await create(telling, **wish)
    assert await telling.manage.listed() == []


async def test_an_org_that_has_nothing_here_gets_none(telling: Telling) -> None:
    with pytest.raises(NotFound):
        await create(telling, org="nobody")


async def test_an_org_has_so_many_and_no_more(telling: Telling) -> None:
    for number in range(MOST_PER_ORG):
        await telling.store.add(webhook(f"wh_{number}"))
    with pytest.raises(Conflict, match="20 webhooks"):
        await create(telling)


async def test_a_change_leaves_the_rest_as_it_was(telling: Telling) -> None:
    made = await create(telling, events=["request.failed"], products=["orders"], ordered=True)
    id_ = made.webhook.id
    await telling.manage.change(id_, Change(url="https://other.example/x"))
    assert await telling.manage.one(id_) == msgspec.structs.replace(
        made.webhook, url="https://other.example/x", state_ms=int(telling.clock.time() * 1000)
    )
    await telling.manage.change(id_, Change(events=(), products=("exports", "exports")))
    kept = await telling.manage.one(id_)
    assert (kept.url, kept.events, kept.products) == ("https://other.example/x", (), ("exports",))
    assert VAULT.open(id_, kept.secret) == made.secret


async def test_what_waits_goes_to_the_new_address(telling: Telling) -> None:
    await telling.store.add(webhook())
    await telling.manage.ping("wh_1")
    await telling.manage.change("wh_1", Change(url="https://other.example/x"))
    await telling.attempt()
    [request] = telling.client.requests
    assert request.url.startswith("https://other.example")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Change(), "nothing to change"),
        (Change(url="https://10.0.0.1/x"), "url: this address is not on the public internet"),
        (Change(events=("webhook.ping",)), "events: 'webhook.ping'"),
        (Change(products=("Orders",)), "products: 'Orders'"),
        (Change(products=("a",) * 101), "products: 101"),
    ],
)
async def test_what_no_webhook_may_become_changes_nothing(telling: Telling, change: Change, says: str) -> None:
    made = webhook()
    await telling.store.add(made)
    with pytest.raises(Unsupported, match=says):
        await telling.manage.change("wh_1", change)
    assert await telling.manage.one("wh_1") == made


async def test_a_change_that_another_was_ahead_of_is_a_conflict(telling: Telling) -> None:
    made = webhook()
    ordered = msgspec.structs.replace(made, ordered=True)
    await telling.store.add(made)
    find = telling.store.find

    async def overtaken(webhook_id: str) -> Webhook | None:
        found = await find(webhook_id)
        await telling.store.replace(made, ordered)
        return found

    telling.store.find = overtaken  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="somebody else first"):
        await telling.manage.change("wh_1", Change(products=("orders",)))
    assert await find("wh_1") == ordered


async def test_a_rotation_without_grace_ends_the_old_secret_at_once(telling: Telling) -> None:
    made = await create(telling)
    rotated = await telling.manage.rotate(made.webhook.id, grace_s=0)
    assert (rotated.webhook.previous, rotated.webhook.previous_until_ms) == (b"", 0)
    assert VAULT.open(made.webhook.id, rotated.webhook.secret) == rotated.secret


async def test_a_grace_is_bounded(telling: Telling) -> None:
    await telling.store.add(webhook())
    with pytest.raises(Unsupported):
        await telling.manage.rotate("wh_1", grace_s=31 * 86_400)


async def test_what_is_so_already_is_a_conflict(telling: Telling) -> None:
    await telling.store.add(webhook())
    with pytest.raises(Conflict):
        await telling.manage.enable("wh_1")
    await telling.manage.disable("wh_1", "broken")
    with pytest.raises(Conflict, match="disabled already: broken"):
        await telling.manage.disable("wh_1", "broken")
    with pytest.raises(Conflict, match="apx webhook enable"):
        await telling.manage.ping("wh_1")


async def test_an_unknown_webhook_is_not_found(telling: Telling) -> None:
    manage = telling.manage
    with pytest.raises(NotFound, match="no webhook 'wh_9'"):
        await manage.change("wh_9", Change(events=()))
    for act in (manage.one, manage.rotate, manage.enable, manage.delete, manage.ping, manage.replay):
        with pytest.raises(NotFound, match="no webhook 'wh_9'"):
            await act("wh_9")


async def test_a_ping_goes_to_one_webhook_whatever_it_asks_for(telling: Telling) -> None:
    await telling.store.add(webhook("wh_1", events=("request.failed",)))
    await telling.store.add(webhook("wh_2"))
    message_id = await telling.manage.ping("wh_1")
    await telling.attempt()
    [request] = telling.client.requests
    assert dict(request.headers)["webhook-id"] == message_id
    assert msgspec.json.decode(request.body)["type"] == "webhook.ping"


async def test_each_change_is_recorded_without_secret_or_path(telling: Telling) -> None:
    recorder = Recorder(telling.audit, By(actor="ann", source="192.0.2.7"))
    store = RecordedWebhooks(telling.store, recorder)
    telling.manage = Webhooks(store, VAULT, telling.bus, telling.clock, lambda size: b"\x09" * size)
    made = await create(telling, url="https://hooks.example/canary")
    id_ = made.webhook.id
    rotated = await telling.manage.rotate(id_)
    await telling.manage.change(id_, Change(url="https://hooks.example/canary/2", events=("request.failed",)))
    await telling.manage.change(id_, Change(url="https://other.example/canary", products=("orders",)))
    await telling.manage.change(id_, Change(products=("orders",)))  # as it is: nothing is changed
    await telling.manage.disable(id_, "broken")
    await replay_recorded(recorder, telling.manage, id_, since_ms=0)
    await telling.manage.delete(id_)
    entries = await telling.audit.read()
    actions = [one.action for one in entries]
    assert actions == [
        "webhook-create",
        "webhook-rotate",
        "webhook-change",
        "webhook-change",
        "webhook-disable",
        "webhook-replay",
        "webhook-enable",
        "webhook-delete",
    ]
    assert {(one.actor, one.org) for one in entries} == {("ann", "acme")}
    told = str(entries)
    assert made.secret not in told
    assert rotated.secret not in told
    assert "canary" not in told
    assert (entries[2].before, entries[2].why) == ("hooks.example: all of all products", "another path")
    assert (entries[3].before, entries[3].after, entries[3].why) == (
        "hooks.example: request.failed of all products",
        "other.example: request.failed of orders",
        "",
    )
    assert entries[4].why == "broken"


def test_a_record_that_cannot_be_read_hinders_no_other_webhook() -> None:
    known, newer = webhook(), msgspec.msgpack.encode({"id": "wh_2", "state": "asleep"})
    assert read_webhooks([newer, msgspec.msgpack.encode(known)]) == [known]
    with pytest.raises(Unavailable):
        read_webhook(newer)
