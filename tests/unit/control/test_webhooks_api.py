"""Webhooks over the control API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.control.office import Office, code

URL = "https://hooks.example/canary-path"


async def made(office: Office, **wish: Any) -> dict[str, Any]:
    from apx.admission.keys import KeyRecord  # noqa: PLC0415 -- only here

    await office.keys.put(KeyRecord(id="key_1", sha256="0", org="acme", region="eu", plans={}, created_ms=0))
    async with office.client() as admin:
        answer = await admin.post("/webhooks", json={"org": "acme", "url": URL, **wish})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"/api/v1/webhooks/{answer.json()['id']}"
    created: dict[str, Any] = answer.json()
    return created


async def test_a_secret_is_in_the_answers_that_make_one_and_in_no_other(office: Office) -> None:
    webhook = await made(office)
    path = f"/webhooks/{webhook['id']}"
    async with office.client() as admin:
        rotated = (await admin.post(f"{path}/rotate", json={})).json()
        told = [
            await admin.get("/webhooks"),
            await admin.get("/webhooks?org=acme"),
            await admin.get(path),
            await admin.post(f"{path}/disable", json={"why": "broken"}),
            await admin.post(f"{path}/enable"),
            await admin.post(f"{path}/ping"),
            await admin.get("/dead-letters"),
            await admin.get("/audit"),
        ]
    assert webhook["secret"].startswith("whsec_")
    assert webhook["secret"] != rotated["secret"]
    for answer in told:
        assert answer.is_success, answer.text
        assert webhook["secret"] not in answer.text
        assert rotated["secret"] not in answer.text
    assert "canary-path" not in told[-1].text


async def test_what_happens_to_it_is_shown(office: Office) -> None:
    webhook = await made(office, events=["request.failed"], ordered=True)
    path = f"/webhooks/{webhook['id']}"
    async with office.client() as admin:
        await admin.post(f"{path}/disable", json={"why": "broken"})
        shown = (await admin.get(path)).json()
        assert (shown["state"], shown["reason"], shown["events"]) == ("disabled", "broken", ["request.failed"])
        assert (await admin.post(f"{path}/replay", json={})).json() == {"queued": 0}
        assert (await admin.get(path)).json()["state"] == "enabled"
        assert (await admin.delete(path)).status_code == 204
        assert (await admin.get(path)).status_code == 404


async def test_what_it_is_told_of_and_where_can_be_changed(office: Office) -> None:
    webhook = await made(office, events=["request.failed"], products=["orders"], ordered=True)
    path = f"/webhooks/{webhook['id']}"
    async with office.client() as admin:
        changed = await admin.patch(path, json={"url": "https://other.example/canary-path", "products": []})
        shown = (await admin.get(path)).json()
        entry = (await admin.get("/audit?action=webhook-change")).text
    secretless = {name: value for name, value in webhook.items() if name != "secret"}
    assert shown == {**secretless, "url": "https://other.example/canary-path", "products": []} == changed.json()
    assert "other.example: request.failed of all products" in entry
    assert "canary-path" not in entry


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"url": None},
        {"url": "https://10.0.0.1/x"},
        {"url": ""},
        {"events": ["webhook.ping"]},
        {"events": "request.failed"},
        {"products": ["Orders"]},
        {"ordered": False},
        {"secret": "whsec_x"},
        {"org": "globex"},
    ],
)
async def test_a_change_to_what_no_webhook_may_be_is_refused(office: Office, change: object) -> None:
    webhook = await made(office)
    path = f"/webhooks/{webhook['id']}"
    async with office.client() as admin:
        before = (await admin.get(path)).json()
        assert code(await admin.patch(path, json=change))[0] == 422
        assert (await admin.get(path)).json() == before
        assert code(await admin.patch("/webhooks/wh_nowhere", json={"events": []})) == (404, "not-found")


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/x", "http://hooks.example/x", "https://metadata.google.internal/x", "http://127.0.0.1/x"]
)
async def test_an_address_off_the_public_internet_is_422(office: Office, url: str) -> None:
    await made(office)
    async with office.client() as admin:
        answer = await admin.post("/webhooks", json={"org": "acme", "url": url})
    assert code(answer) == (422, "unsupported")
    assert answer.json()["detail"].startswith("url: ")


async def test_who_only_looks_changes_nothing_and_who_operates_makes_none(office: Office) -> None:
    webhook = await made(office)
    path = f"/webhooks/{webhook['id']}"
    async with office.client("viewer") as viewer, office.client("operator") as operator:
        assert (await viewer.get(path)).status_code == 200
        for action in ("enable", "disable", "ping", "replay", "rotate"):
            assert (await viewer.post(f"{path}/{action}", json={"why": "x"})).status_code == 403
        assert (await operator.post(f"{path}/rotate", json={})).status_code == 403
        assert (await operator.patch(path, json={"events": []})).status_code == 403
        assert (await operator.delete(path)).status_code == 403
        assert (await operator.post("/webhooks", json={"org": "acme", "url": URL})).status_code == 403
        assert (await operator.post(f"{path}/ping")).status_code == 202


async def test_a_replay_is_recorded_with_who_asked_for_it(office: Office) -> None:
    webhook = await made(office)
    async with office.client("operator") as operator:
        await operator.post(f"/webhooks/{webhook['id']}/replay", json={"since_ms": 1000})
        entry = (await operator.get("/audit?action=webhook-replay")).json()[0]
    assert (entry["actor"], entry["org"], entry["subject"]) == ("ann", "acme", f"webhook {webhook['id']}")
    assert entry["after"] == "what was given up from 1970-01-01T00:00:01.000Z on"
