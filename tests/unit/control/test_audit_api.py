"""The audit log and the orgs over the control API."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from apx.admission.assertions import HEADER
from apx.admission.operators import Operators
from apx.backends.memory.members import MemoryMembers
from apx.clock import ManualClock
from services.control.access import Access
from services.control.pace import Pace
from tests.unit.control.office import TOKEN, UNHURRIED, Office, code

KEY = "sha256:" + "0" * 64


async def give(office: Office) -> None:
    from apx.admission.keys import KeyRecord  # noqa: PLC0415 -- only here

    await office.keys.put(KeyRecord(id="key_1", sha256="0", org="acme", region="eu", plans={}, created_ms=0))


async def test_what_is_changed_is_recorded_with_the_caller_and_its_address(office: Office) -> None:
    await give(office)
    await office.dead_letter()
    (letter,) = await office.bus.dead_letters(None, 1)
    async with office.client("admin") as admin:
        await admin.post("/orgs/acme/suspend", json={"why": "unpaid"})
        await admin.post(f"/dead-letters/{letter.id}/replay")
        await admin.delete("/keys/key_1")
        entries = (await admin.get("/audit")).json()
    assert [one["action"] for one in entries] == ["key-revoke", "dead-letter-replay", "org-suspend"]
    assert {(one["actor"], one["source"]) for one in entries} == {("ann", "192.0.2.7")}
    assert (entries[1]["before"], entries[1]["product"]) == ("req_1", "orders")
    assert "CANARY" not in str(entries)


async def test_a_rollouts_own_entry_names_the_address_too(office: Office) -> None:
    digest = await office.release()
    async with office.client("operator") as operator:
        await operator.post("/products/orders/activate", json={"digest": digest})
    (entry,) = await office.rollouts.history("orders")
    assert (entry.actor, entry.source) == ("ann", "192.0.2.7")


async def test_an_org_is_suspended_and_resumed(office: Office) -> None:
    await give(office)
    async with office.client() as admin:
        assert (await admin.post("/orgs/acme/suspend", json={"why": "unpaid"})).json()["suspended"] is True
        assert code(await admin.post("/orgs/acme/suspend", json={"why": "again"})) == (409, "conflict")
        assert (await admin.get("/orgs/acme")).json()["why"] == "unpaid"
        assert (await admin.post("/orgs/acme/resume", json={"why": "paid"})).json()["suspended"] is False
        assert [one["org"] for one in (await admin.get("/orgs")).json()] == ["acme"]
        assert code(await admin.post("/orgs/amce/suspend", json={"why": "x"})) == (404, "not-found")
        assert code(await admin.post("/orgs/acme/suspend", json={"why": ""})) == (422, "invalid")


async def test_suspending_is_for_admins_and_looking_for_all(office: Office) -> None:
    await give(office)
    async with office.client("operator") as operator:
        assert code(await operator.post("/orgs/acme/suspend", json={"why": "x"})) == (403, "role-too-low")
    async with office.client("viewer") as viewer:
        for path in ("/orgs", "/orgs/acme", "/audit", "/audit/verify"):
            assert (await viewer.get(path)).status_code == 200
    assert (await office.audit.head()).number == 0


async def test_the_log_is_filtered_and_verified(office: Office) -> None:
    await give(office)
    async with office.client() as admin:
        await admin.post("/orgs/acme/suspend", json={"why": "unpaid"})
        await admin.post("/orgs/acme/resume", json={"why": "paid"})
        for query, count in (("org=acme", 2), ("org=other", 0), ("action=org-r", 1), ("before=2", 1), ("limit=1", 1)):
            assert len((await admin.get(f"/audit?{query}")).json()) == count, query
        report = (await admin.get("/audit/verify")).json()
    assert (report["sound"], report["entries"], report["findings"]) == (True, 2, [])


async def test_a_link_leads_from_page_to_page(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.control.audit.MOST_LOOKED_AT", 3)
    await give(office)
    async with office.client() as admin:
        for _ in range(4):
            await admin.post("/orgs/acme/suspend", json={"why": "unpaid"})
            await admin.post("/orgs/acme/resume", json={"why": "paid"})
        numbers, pages, url = [], [], "/api/v1/audit?action=org-s&limit=2"
        while url:
            answer = await admin.get(f"http://control{url}")
            pages.append(len(answer.json()))
            numbers += [entry["number"] for entry in answer.json()]
            url = answer.links.get("next", {}).get("url", "")
    assert (numbers, pages) == ([7, 5, 3, 1], [1, 2, 1])


@pytest.mark.parametrize(
    ("proxied", "asserted", "forwarded", "source"),
    [
        (True, True, "203.0.113.9", "192.0.2.7"),
        (True, True, "6.6.6.6, 203.0.113.9, 35.1.1.1", "203.0.113.9"),
        (True, False, "6.6.6.6, 203.0.113.9", "192.0.2.7"),
        (False, True, "6.6.6.6, 203.0.113.9", "192.0.2.7"),
    ],
)
def test_what_was_forwarded_is_believed_behind_the_proxy_alone(
    *, proxied: bool, asserted: bool, forwarded: str, source: str
) -> None:
    reads = (lambda _: None) if proxied else None
    clock = ManualClock()
    access = Access(Operators(b"o" * 32, clock), TOKEN, MemoryMembers(), Pace(clock, UNHURRIED), reads)
    fields = [(b"x-forwarded-for", forwarded.encode()), *([(HEADER.encode(), b"x")] if asserted else [])]
    request = Request({"type": "http", "headers": fields, "client": ("192.0.2.7", 1)})
    assert access.source(request) == source
