from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from apx.admission.keys import KeyRecord, sha256_of, well_formed
from apx.admission.operators import Role
from apx.errors import Unavailable
from apx.release.digest import digest_of
from apx.rollout.active import Snapshot
from tests.unit.control.office import TOKEN, UNKNOWN, Office, code, guarded
from tests.unit.release.examples import WASM

OTLP = "application/json"


@pytest.fixture(scope="module")
def guarded_app() -> FastAPI:
    return Office(Path("unused")).app


def test_there_is_something_to_guard() -> None:
    assert len(guarded()) >= 10


BAD = {
    "none": {},
    "empty": {"authorization": ""},
    "wrong": {"authorization": "Bearer wrong"},
    "the start of it": {"authorization": f"Bearer {TOKEN[:-1]}"},
    "more than it": {"authorization": f"Bearer {TOKEN}x"},
    "basic": {"authorization": f"Basic {TOKEN}"},
    "bare": {"authorization": TOKEN},
    "other letters": {"authorization": "Bearer \xff\xfe"},
    "cookie": {"cookie": f"authorization=Bearer {TOKEN}"},
}


@pytest.mark.parametrize("headers", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize(("method", "path"), guarded())
async def test_nothing_is_answered_without_the_token(
    guarded_app: FastAPI, method: str, path: str, headers: dict[str, str]
) -> None:
    transport = httpx.ASGITransport(guarded_app)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
        answer = await client.request(method, path, headers=raw)
    assert code(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text


async def test_the_token_is_not_taken_from_the_query(office: Office) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(office.app), base_url="http://control") as client:
        assert (await client.get("/api/v1/keys", params={"authorization": f"Bearer {TOKEN}"})).status_code == 401


async def test_an_unknown_path_is_a_problem(admin: httpx.AsyncClient) -> None:
    assert code(await admin.get("/api/v1/nothing")) == (404, "not-found")


async def test_another_method_is_a_problem(admin: httpx.AsyncClient) -> None:
    assert code(await admin.put("/api/v1/keys")) == (405, "method-not-allowed")


async def test_a_store_that_is_away_is_a_problem(office: Office, admin: httpx.AsyncClient) -> None:
    office.rollouts.error = Unavailable("the store is away")
    answer = await admin.get("/api/v1/products")
    assert (code(answer), answer.headers["retry-after"]) == ((503, "unavailable"), "1")


async def test_without_its_store_it_is_not_ready(office: Office, admin: httpx.AsyncClient) -> None:
    office.rollouts.error = Unavailable("the store is away")
    assert (await admin.get("/readyz")).status_code == 503
    assert (await admin.get("/healthz")).status_code == 200


async def test_a_crash_of_ours_is_a_problem_without_details(office: Office, admin: httpx.AsyncClient) -> None:
    office.rollouts.error = RuntimeError("a SECRET")
    answer = await admin.get("/api/v1/products")
    assert code(answer) == (500, "internal")
    assert "SECRET" not in answer.text


async def activate(admin: httpx.AsyncClient, digest: object, product: str = "orders", **more: object) -> httpx.Response:
    return await admin.post(f"/api/v1/products/{product}/activate", json={"digest": digest, **more})


async def test_an_activated_release_is_live_with_its_history(office: Office, admin: httpx.AsyncClient) -> None:
    digest = await office.release()
    answer = await activate(admin, digest, why="a reason")
    assert answer.json() == {"product": "orders", "release": digest, "changed": True}
    (live,) = (await admin.get("/api/v1/products")).json()
    (entry,) = (await admin.get("/api/v1/products/orders/history")).json()
    assert (live["release"], live["revision"]) == (digest, 1)
    assert (entry["after"], entry["why"], entry["before"]) == (digest, "a reason", None)


async def test_activating_what_is_live_changes_nothing(office: Office, admin: httpx.AsyncClient) -> None:
    digest = await office.release()
    await activate(admin, digest)
    assert (await activate(admin, digest)).json()["changed"] is False
    assert (await office.rollouts.read()).revision == 1


ILL: dict[str, object] = {"none": None, "empty": "", "short": "sha256:abc", "path": "../../etc/passwd", "number": 1}


@pytest.mark.parametrize("digest", ILL.values(), ids=ILL.keys())
async def test_what_is_no_digest_changes_nothing(office: Office, admin: httpx.AsyncClient, digest: object) -> None:
    assert code(await activate(admin, digest)) == (422, "invalid")
    assert await office.rollouts.read() == Snapshot()


async def test_an_unknown_release_changes_nothing(office: Office, admin: httpx.AsyncClient) -> None:
    assert code(await activate(admin, UNKNOWN)) == (404, "not-found")
    assert await office.rollouts.read() == Snapshot()


async def test_the_release_of_another_product_changes_nothing(office: Office, admin: httpx.AsyncClient) -> None:
    assert code(await activate(admin, await office.release("exports"))) == (409, "release-rejected")
    assert await office.rollouts.read() == Snapshot()


async def test_a_damaged_release_changes_nothing(office: Office, admin: httpx.AsyncClient) -> None:
    digest = await office.release()
    (office.folder / "releases" / "blobs" / digest_of(WASM).removeprefix("sha256:")).write_bytes(b"rot")
    assert code(await activate(admin, digest)) == (409, "release-rejected")
    assert await office.rollouts.read() == Snapshot()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"null"])
async def test_a_body_that_is_none_changes_nothing(office: Office, admin: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await admin.post("/api/v1/products/orders/activate", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert await office.rollouts.read() == Snapshot()


async def test_releases_are_listed(office: Office, admin: httpx.AsyncClient) -> None:
    digest = await office.release()
    await office.release("exports")
    found = (await admin.get("/api/v1/releases", params={"product": "orders"})).json()
    assert [one["digest"] for one in found] == [digest]


KEY = KeyRecord(id="key_1", sha256=sha256_of("CANARY"), org="acme", region="eu", plans={}, created_ms=0)


async def test_keys_are_listed_without_their_hashes(office: Office, admin: httpx.AsyncClient) -> None:
    await office.keys.put(KEY)
    answer = await admin.get("/api/v1/keys")
    assert [one["id"] for one in answer.json()] == ["key_1"]
    assert KEY.sha256 not in answer.text


async def test_a_key_is_revoked_once(office: Office, admin: httpx.AsyncClient) -> None:
    await office.keys.put(KEY)
    assert (await admin.delete("/api/v1/keys/key_1")).status_code == 204
    assert code(await admin.delete("/api/v1/keys/key_1")) == (404, "not-found")
    assert await office.keys.list_keys() == []


WISH: dict[str, Any] = {"org": "acme", "region": "eu", "plans": {"orders": "free"}}


@pytest.fixture
async def live(office: Office, admin: httpx.AsyncClient) -> None:
    """A live product."""
    await activate(admin, await office.release())


@pytest.mark.usefixtures("live")
async def test_a_key_is_in_the_answer_that_made_it_and_in_no_other(office: Office, admin: httpx.AsyncClient) -> None:
    terms = {"note": "n", "scopes": {"orders": ["GET"]}, "allowlist": ["203.0.113.7"], "metadata": {"team": "a"}}
    answer = await admin.post("/api/v1/keys", json={**WISH, **terms, "environment": "live"})
    made = answer.json()
    key = made.pop("key")
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert well_formed(key)
    assert key.startswith("apx_live_")
    shown = await admin.get(answer.headers["location"])
    assert shown.json() == made
    assert (made["scopes"], made["allowlist"]) == ({"orders": ["GET"]}, ["203.0.113.7/32"])
    assert key not in shown.text + (await admin.get("/api/v1/keys")).text
    record = await office.keys.find(sha256_of(key))
    assert record is not None
    assert record.id == made["id"]


OWN = {"rate": {"per_second": 5, "burst": 10}, "quotas": {"day": 1000}}


@pytest.mark.usefixtures("live")
async def test_a_key_has_limits_of_its_own_that_can_be_changed(admin: httpx.AsyncClient) -> None:
    made = (await admin.post("/api/v1/keys", json={**WISH, **OWN})).json()
    assert {name: made[name] for name in OWN} == OWN
    rotated = (await admin.post(f"/api/v1/keys/{made['id']}/rotate", json={})).json()
    assert {name: rotated[name] for name in OWN} == OWN
    path = f"/api/v1/keys/{rotated['id']}"
    limited = await admin.put(f"{path}/limits", json={"quotas": {"month": 9}})
    assert (limited.status_code, limited.json()["rate"], limited.json()["quotas"]) == (200, None, {"month": 9})
    assert (await admin.get(path)).json() == limited.json()
    assert code(await admin.put(f"/api/v1/keys/{made['id']}/limits", json=OWN)) == (409, "conflict")


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": {"per_second": 0, "burst": 1}},
        {"rate": {"per_second": 1, "burst": 10_000_001}},
        {"rate": {"per_second": 1}},
        {"quotas": {"week": 9}},
        {"quotas": {"day": 0}},
        {"quotas": {"day": 9, "month": 8}},
        {"limits": {}},
    ],
)
async def test_limits_that_cannot_be_change_nothing(office: Office, admin: httpx.AsyncClient, wrong: Any) -> None:
    await office.keys.put(KEY)
    assert code(await admin.put("/api/v1/keys/key_1/limits", json=wrong))[0] == 422
    assert await office.keys.list_keys() == [KEY]


UNGIVEN: dict[str, dict[str, Any]] = {
    "a product that is not live": {"plans": {"exports": "free"}},
    "a plan that is not offered": {"plans": {"orders": "gold"}},
    "no product": {"plans": {}},
    "no org": {"org": ""},
    "an odd org": {"org": "../acme"},
    "no region": {"region": "moon"},
    "an environment that no key can name": {"environment": "Live"},
    "an end that is past": {"expires_ms": 1},
    "an end that is no number": {"expires_ms": 1e300},
    "a scope of another product": {"scopes": {"exports": []}},
    "no network": {"allowlist": ["anywhere"]},
    "an unknown field": {"sha256": "0" * 64},
    "a key of one's own": {"key": "apx_local_x"},
    "a megabyte": {"note": "x" * 1_000_000},
    "a rate that none can have": {"rate": {"per_second": 1e300, "burst": 1}},
    "a quota that the burst makes pointless": {"rate": {"per_second": 1, "burst": 9}, "quotas": {"hour": 8}},
}


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("wrong", UNGIVEN.values(), ids=UNGIVEN.keys())
async def test_a_key_that_cannot_be_is_not_made(office: Office, admin: httpx.AsyncClient, wrong: Any) -> None:
    answer = await admin.post("/api/v1/keys", json={**WISH, **wrong})
    assert (code(answer)[0], await office.keys.list_keys()) == (422, [])
    assert len(answer.text) < 2_000


@pytest.mark.usefixtures("live")
async def test_a_rotated_key_is_shown_once_and_names_the_old_one(admin: httpx.AsyncClient) -> None:
    old = (await admin.post("/api/v1/keys", json=WISH)).json()
    answer = await admin.post(f"/api/v1/keys/{old['id']}/rotate", json={"grace_s": 60})
    new = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert well_formed(new["key"])
    assert new["replaces"] == old["id"]
    now = (await admin.get(f"/api/v1/keys/{old['id']}")).json()
    assert (now["replaced_by"], now["expires_ms"]) == (new["id"], new["old_expires_ms"])
    again = await admin.post(f"/api/v1/keys/{old['id']}/rotate", json={})
    assert code(again) == (409, "conflict")


@pytest.mark.parametrize("grace_s", [-1, 1e300, "x", None, 8_000_000])
async def test_a_grace_that_cannot_be_changes_nothing(office: Office, admin: httpx.AsyncClient, grace_s: Any) -> None:
    await office.keys.put(KEY)
    assert code(await admin.post("/api/v1/keys/key_1/rotate", json={"grace_s": grace_s})) == (422, "invalid")
    assert await office.keys.list_keys() == [KEY]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/keys/key_9"), ("POST", "/keys/key_9/rotate"), ("PUT", "/keys/key_9/limits")]
)
async def test_an_unknown_key_is_not_found(admin: httpx.AsyncClient, method: str, path: str) -> None:
    assert code(await admin.request(method, f"/api/v1{path}", json={})) == (404, "not-found")


@pytest.mark.parametrize("role", ["viewer", "operator"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/keys"),
        ("POST", "/keys/key_1/rotate"),
        ("PUT", "/keys/key_1/limits"),
        ("DELETE", "/keys/key_1"),
    ],
)
async def test_only_an_admin_changes_keys(
    office: Office, admin: httpx.AsyncClient, role: Role, method: str, path: str
) -> None:
    await office.keys.put(KEY)
    headers = {"authorization": f"Bearer {office.token(role)}"}
    answer = await admin.request(method, f"/api/v1{path}", headers=headers, json={})
    assert code(answer) == (403, "role-too-low")
    assert await office.keys.list_keys() == [KEY]


TERMS = {"timezone": "Europe/Berlin", "quotas": [{"name": "daily", "per": "day", "requests": 5}]}


async def test_terms_are_given_once_and_recorded(office: Office, admin: httpx.AsyncClient) -> None:
    said = [(await admin.put("/api/v1/orgs", json={"terms": {"acme": TERMS}})).json() for _ in range(2)]
    assert said == [[{"org": "acme", "changed": changed, "terms": TERMS}] for changed in (True, False)]
    assert (await admin.get("/api/v1/orgs/acme")).json()["terms"] == TERMS
    assert [entry.action for entry in await office.audit.read()] == ["org-terms"]


@pytest.mark.parametrize(
    "terms",
    [
        {"acme": {"timezone": "Europe/Berlin", "unknown": 1, "rate": {"per_second": 0, "burst": 1}}},
        {"acme": {"quotas": [{"name": "daily", "per": "week", "requests": 5}]}},
        {"acme": {"allowlist": ["203.0.113.1/24"]}},
        {"acme": {"timezone": "Europe/Atlantis"}},
        {"acme": {"quotas": [{"name": "daily", "per": "day", "requests": requests} for requests in (5, 6)]}},
        {"acme": {"budgets": [{"name": "daily", "per": "day", "usd": usd} for usd in (5, 6)]}},
        {"A": {}},
        [],
    ],
)
async def test_terms_that_cannot_be_change_nothing(office: Office, admin: httpx.AsyncClient, terms: Any) -> None:
    answer = await admin.put("/api/v1/orgs", json={"terms": terms})
    assert answer.status_code in (400, 422)
    assert await office.orgs.list_orgs() == []


async def test_a_viewer_gives_no_terms(office: Office, admin: httpx.AsyncClient) -> None:
    token = {"authorization": f"Bearer {office.token('viewer')}"}
    assert (await admin.put("/api/v1/orgs", json={"terms": {"acme": TERMS}}, headers=token)).status_code == 403
    token = {"authorization": f"Bearer {office.token('operator')}"}
    assert (await admin.put("/api/v1/orgs", json={"terms": {"acme": TERMS}}, headers=token)).status_code == 200


async def test_a_request_is_shown_without_its_body_and_fields(office: Office, admin: httpx.AsyncClient) -> None:
    await office.dead_letter()
    answer = await admin.get("/api/v1/requests/req_1")
    assert answer.json()["state"] == "failed"
    assert answer.json()["error"] == {"code": "backend-failed", "detail": "It answered 500."}
    assert "CANARY" not in answer.text


async def test_an_unknown_request_is_not_found(admin: httpx.AsyncClient) -> None:
    assert code(await admin.get("/api/v1/requests/nothing")) == (404, "not-found")


async def test_dead_letters_are_shown_with_their_reasons_only(office: Office, admin: httpx.AsyncClient) -> None:
    await office.dead_letter()
    answer = await admin.get("/api/v1/dead-letters")
    assert [(one["request"], one["reason"]) for one in answer.json()] == [("req_1", "backend-failed")]
    assert "CANARY" not in answer.text


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "1e9", ""])
async def test_a_list_is_bounded(admin: httpx.AsyncClient, limit: str) -> None:
    assert code(await admin.get("/api/v1/dead-letters", params={"limit": limit})) == (422, "invalid")


def export(spans: int = 1) -> bytes:
    span = {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "b7ad6b7169203331",
        "name": "n",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
    }
    return msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [span] * spans}]}]})


async def test_received_spans_can_be_read(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/otlp/v1/traces", content=export(), headers={"content-type": OTLP})).status_code == 200
    found = (await admin.get("/api/v1/traces/0af7651916cd43dd8448eb211c80319c")).json()
    assert [span["name"] for span in found] == ["n"]


async def test_an_unknown_trace_is_empty(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/api/v1/traces/nothing")).json() == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [(b"{", OTLP, 400), (b"\xff", "application/x-protobuf", 400), (b"{}", "text/plain", 415), (b"{}", "", 415)],
)
async def test_what_is_no_export_is_a_problem(admin: httpx.AsyncClient, content: bytes, kind: str, status: int) -> None:
    answer = await admin.post("/otlp/v1/traces", content=content, headers={"content-type": kind})
    assert code(answer) == (status, "spans-refused")


async def test_an_export_that_is_too_large_is_refused_before_it_is_whole(
    office: Office, admin: httpx.AsyncClient
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 65_536
            yield b"a" * 65_536

    answer = await admin.post("/otlp/v1/traces", content=endless(), headers={"content-type": OTLP})
    assert code(answer) == (413, "spans-refused")
    assert sent < 8_000_000
    assert not (office.folder / "spans.jsonl").exists()


async def test_the_description_names_every_guarded_path(admin: httpx.AsyncClient) -> None:
    described = (await admin.get("/api/openapi.json")).json()["paths"]
    assert {re.sub(r"{\w+}", "x", path) for path in described} == {path for _, path in guarded()}
