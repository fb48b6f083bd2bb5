"""Rollouts over the control API: who may what, and what comes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from apx.admission.operators import ROLES, Operators, Role
from apx.clock import ManualClock
from apx.errors import Unavailable, Unsupported
from apx.rollout.counts import Counts
from apx.telemetry import logs
from services.control import events
from tests.unit.control.office import TOKEN, Office, code, guarded
from tests.unit.release.examples import manifest, spec, stored

API = "http://control/api/v1"
READS = ("GET", "HEAD")


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    """Orders live, with a candidate stored beside it."""
    office = Office(tmp_path)
    stable = await office.release()
    async with caller(office, "operator") as one:
        assert (await one.post("/rollouts", json={"releases": [{"digest": stable}]})).json()[0][
            "outcome"
        ] == "activated"
    return office


def caller(office: Office, role: Role | None, subject: str = "ann") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(office.app, raise_app_exceptions=False)
    token = TOKEN if role is None else office.token(role, subject)
    return httpx.AsyncClient(transport=transport, base_url=API, headers={"authorization": f"Bearer {token}"})


async def candidate(office: Office, **changes: Any) -> str:
    return await stored(office.folder / "releases", manifest("orders", spec(title="N", **changes)))


@pytest.fixture
async def ann(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(office, "operator") as client:
        yield client


async def started(office: Office, one: httpx.AsyncClient, **wish: Any) -> dict[str, Any]:
    digest = await candidate(office)
    answer = await one.post("/rollouts", json={"releases": [{"digest": digest}], **wish})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()[0]
    return found


async def test_a_rollout_is_started_looked_at_and_promoted(office: Office, ann: httpx.AsyncClient) -> None:
    begun = await started(office, ann, why="because")
    assert (begun["product"], begun["outcome"]) == ("orders", "started")
    shown = (await ann.get("/rollouts/orders")).json()
    assert shown["rollout"]["state"] == "pending"
    promoted = (await ann.post("/rollouts/orders/promote", json={"why": "fine"})).json()
    assert (promoted["stable"], promoted["rollout"]["state"]) == (begun["digest"], "promoted")
    history = (await ann.get("/rollouts/orders/history")).json()
    assert [(entry["action"], entry["actor"], entry["why"]) for entry in history[:2]] == [
        ("promote", "ann", "fine"),
        ("start", "ann", "because"),
    ]


async def test_a_spent_error_budget_is_told_and_force_does_not_ask_for_it(
    office: Office, ann: httpx.AsyncClient
) -> None:
    bad = Counts(answers=5_000, errors=100, latency={})
    await office.counts.write("worker-1", {"orders": {("sha256:" + "a" * 64, "acme"): bad}})
    refused = await started(office, ann)
    assert refused["outcome"] == "refused"
    assert "2.00 % of 5000 answers failed in the last day, 0.50 % may" in refused["reason"]
    assert (await started(office, ann, force=True, why="I know"))["outcome"] == "started"


async def test_an_error_budget_that_is_not_by_its_own_source_is_told(office: Office, ann: httpx.AsyncClient) -> None:
    assert (await started(office, ann))["note"] == ""
    await ann.post("/rollouts/orders/abort", json={"why": "again"})
    office.month.error = Unavailable("Cloud Monitoring is away")
    digest = await candidate(office, base_path="/orders", description="another")
    answer = (await ann.post("/rollouts", json={"releases": [{"digest": digest}]})).json()[0]
    assert answer["outcome"] == "started"
    assert "of 30 days nothing is known: Cloud Monitoring is away" in answer["note"]


async def test_what_is_refused_stands_in_the_answer(office: Office, ann: httpx.AsyncClient) -> None:
    begun = await started(office, ann)
    await ann.post("/rollouts/orders/abort", json={"why": "a bad feeling"})
    again = (await ann.post("/rollouts", json={"releases": [{"digest": begun["digest"]}]})).json()[0]
    assert again["outcome"] == "refused"
    assert "a bad feeling" in again["reason"]


async def test_of_two_operators_at_once_one_gets_a_conflict_with_its_reason(
    office: Office, ann: httpx.AsyncClient
) -> None:
    await started(office, ann)
    answers = await asyncio.gather(
        ann.post("/rollouts/orders/promote", json={}), ann.post("/rollouts/orders/abort", json={})
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert code(refused) == (409, "conflict")
    assert "orders" in refused.json()["detail"]


async def test_a_rollback_goes_to_what_was_stable_before(office: Office, ann: httpx.AsyncClient) -> None:
    before = (await ann.get("/status")).json()[0]["stable"]
    await started(office, ann)
    await ann.post("/rollouts/orders/promote", json={})
    back = (await ann.post("/products/orders/rollback", json={"why": "customers call"})).json()
    assert back["stable"] == before


async def test_a_status_shows_what_is_under_way(office: Office, ann: httpx.AsyncClient) -> None:
    begun = await started(office, ann)
    (status,) = (await ann.get("/status")).json()
    assert (status["candidate"], status["state"], status["weight_percent"]) == (begun["digest"], "pending", 0.0)


async def test_both_arms_and_the_verdict_are_shown(office: Office, ann: httpx.AsyncClient) -> None:
    begun = await started(office, ann)
    office.clock.advance(1)
    counts = {(begun["digest"], "acme"): Counts(shadowed=7, shadow_newly_denied=1, latency={})}
    await office.counts.write("router-1", {"orders": counts})
    office.clock.advance(1)
    assessment = (await ann.get("/rollouts/orders")).json()["assessment"]
    assert assessment["verdict"]["outcome"] == "inconclusive"
    assert assessment["candidate"]["requests"] == 7


@pytest.mark.parametrize("path", ["/rollouts/nothing", "/rollouts/%2e%2e"])
async def test_a_product_that_is_not_there_is_not_found(ann: httpx.AsyncClient, path: str) -> None:
    assert code(await ann.get(path)) == (404, "not-found")


@pytest.mark.parametrize("verb", ["promote", "pause", "resume", "abort"])
async def test_without_a_rollout_there_is_nothing_to_move(ann: httpx.AsyncClient, verb: str) -> None:
    assert code(await ann.post(f"/rollouts/orders/{verb}", json={})) == (409, "conflict")


async def test_a_dead_letter_is_queued_again_under_a_new_id(office: Office, ann: httpx.AsyncClient) -> None:
    await office.dead_letter()
    (letter,) = (await ann.get("/dead-letters")).json()
    replayed = (await ann.post(f"/dead-letters/{letter['id']}/replay")).json()
    assert replayed["request"] == "req_1"
    assert replayed["replayed_as"].startswith("req_")
    assert (await ann.get("/dead-letters")).json() == []


# -- roles -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [one for one in guarded() if one[0] not in READS])
async def test_a_viewer_changes_nothing(office: Office, method: str, path: str) -> None:
    before = await office.rollouts.read()
    async with caller(office, "viewer") as viewer:
        answer = await viewer.request(method, f"http://control{path}", json={})
    assert code(answer) == (403, "role-too-low")
    assert await office.rollouts.read() == before


async def test_keys_are_for_admins(office: Office) -> None:
    for role, expected in (("operator", 403), ("admin", 404)):
        async with caller(office, role) as one:  # type: ignore[arg-type]  # both are roles
            assert (await one.delete("/keys/key_1")).status_code == expected


async def test_the_admin_token_of_the_platform_may_all(office: Office) -> None:
    async with caller(office, None) as admin:
        assert (await started(office, admin))["outcome"] == "started"
        assert (await admin.get("/rollouts/orders/history")).json()[0]["actor"] == "admin"


def forged(**changes: Any) -> str:
    claims = {"iss": "apx", "aud": "apx-control", "sub": "ann", "role": "admin", "iat": 0, "exp": 2**40, "jti": "1"}
    kept = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(kept, changes.pop("key", b"another key of thirty-two bytes!"), algorithm="HS256")


@pytest.mark.parametrize("kind", ["another key", "alg none", "expired", "another audience", "cut", "two", "garbage"])
async def test_every_bad_token_gets_the_same_answer(office: Office, kind: str) -> None:
    good = office.token("admin")
    claims = jwt.decode(good, options={"verify_signature": False})
    token = {
        "another key": forged(),
        "alg none": jwt.encode(claims, "", algorithm="none"),
        "expired": good,
        "another audience": jwt.encode({**claims, "aud": "else"}, office.operators._key, algorithm="HS256"),  # noqa: SLF001
        "cut": good[:-3],
        "two": f"{good} {good}",
        "garbage": "a.b.c",
    }[kind]
    if kind == "expired":
        office.clock.advance(3601)
    transport = httpx.ASGITransport(office.app)
    async with httpx.AsyncClient(transport=transport, base_url=API) as nobody:
        without = await nobody.get("/status")
        answer = await nobody.get("/status", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()) == (401, without.json())


@pytest.mark.parametrize("role", ["root", "", None, 1, ["admin"]])
async def test_a_token_with_a_role_that_is_none_is_nobodys(office: Office, role: object) -> None:
    claims = jwt.decode(office.token("admin"), options={"verify_signature": False})
    token = jwt.encode({**claims, "role": role}, office.operators._key, algorithm="HS256")  # noqa: SLF001
    assert office.operators.read(token) is None


@pytest.mark.parametrize(("subject", "hours"), [("", 1), ("a b", 1), ("x" * 65, 1), ("-", 1), ("ann", 0), ("ann", 1e9)])
def test_a_token_that_none_should_have_is_not_minted(subject: str, hours: float) -> None:
    with pytest.raises(Unsupported):
        Operators(b"o" * 32, ManualClock()).mint(subject, "viewer", hours=hours, random=bytes)


def test_each_role_may_what_the_lesser_ones_may() -> None:
    clock = ManualClock()
    operators = Operators(b"o" * 32, clock)
    for at, role in enumerate(ROLES):
        found = operators.read(operators.mint("ann", role, hours=1, random=bytes))
        assert found is not None
        assert [found.may(other) for other in ROLES] == [other <= at for other in range(len(ROLES))]


async def test_who_changes_something_is_logged_with_the_role(
    office: Office, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(logs, "canonical", lambda event, **fields: lines.append({"event": event, **fields}))
    await started(office, ann)
    await ann.delete("/keys/key_1")
    told = [(line["subject"], line["role"], line["path"], line["refused"]) for line in lines]
    assert told == [
        ("ann", "operator", "/rollouts", 0),
        ("ann", "operator", "/keys/{key_id}", 403),
    ]


# -- the stream --------------------------------------------------------------------------------------------------------


async def read_events(office: Office, after: str, until: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return so many events of a stream."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    async with asyncio.timeout(5), aclosing(events.Events(office.rollouts).lines(after)) as lines:
        async for piece in lines:
            fields = dict(line.split(": ", 1) for line in piece.decode().splitlines() if line and line[0] != ":")
            if fields:
                found.append((fields["id"], fields["event"], json.loads(fields["data"])))
            if len(found) >= until:
                break
    return found


async def test_every_change_is_told_in_order_and_a_stream_is_resumed(office: Office, ann: httpx.AsyncClient) -> None:
    reading = asyncio.create_task(read_events(office, "", 2))
    for _ in range(20):
        await asyncio.sleep(0)
    await started(office, ann)
    await ann.post("/rollouts/orders/pause", json={})
    first, second = await reading
    assert (first[1], second[1]) == ("start", "pause")
    assert first[2]["actor"] == "ann"
    ((_, action, _),) = await read_events(office, first[0], 1)
    assert action == "pause"


async def test_too_many_streams_are_refused(office: Office, ann: httpx.AsyncClient) -> None:
    many = events.Events(office.rollouts)
    many._open = events.MOST_STREAMS  # noqa: SLF001 -- as if so many were open
    with pytest.raises(Exception, match="streams are open"):
        many.stream("")
    assert ann is not None


# -- the description ---------------------------------------------------------------------------------------------------

_quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_the_description_is_true_for_right_and_for_wrong_calls(tmp_path: Path) -> None:
    office = Office(tmp_path)
    digest = asyncio.run(office.release())
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", office.app)
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def check(case: Any) -> None:
        answer = case.call(headers=headers)
        case.validate_response(
            answer, checks=(not_a_server_error, response_schema_conformance, content_type_conformance)
        )

    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # the description is read above
        if operation.path.endswith("/rollout-events"):
            continue  # a stream without an end
        right, wrong = (operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)

        @settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=_quiet)
        @given(right | wrong)
        def storm(case: Any) -> None:
            check(case)

        storm()
    assert digest
