"""Every endpoint of the control API, and what each kind of caller gets from it: one table, which must be whole."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from apx.admission.keys import KeyRecord
from apx.admission.operators import ROLES, Role
from apx.admission.orgs import OrgTerms
from apx.audit.record import By
from apx.errors import Unavailable
from apx.requests.model import Problem
from apx.requests.ports import Settlement
from apx.rollout.activate import activate
from apx.rollout.active import AuditEntry
from apx.webhooks.model import Webhook
from tests.contract.requests_examples import BOUNDS, envelope, result
from tests.unit.control.office import Office, routes_of

WHY, URL = {"why": "x"}, "https://hooks.example/x"
PLANS = {"orders": "free"}
ORGS = ("acme", "globex")


class Takes(NamedTuple):
    """What an endpoint takes: a role, in the org that the call is about or over the platform."""

    role: Role
    in_org: bool
    answer: int = 200
    """What it says to whom it serves."""
    body: Any = None
    query: str = ""
    lists: bool = False
    """Whether it serves everybody their own part."""


def platform(role: Role, answer: int = 200, body: Any = None) -> Takes:
    return Takes(role, in_org=False, answer=answer, body=body)


def org(role: Role, answer: int = 200, body: Any = None) -> Takes:
    return Takes(role, in_org=True, answer=answer, body=body)


def part(query: str = "") -> Takes:
    return Takes("viewer", in_org=True, query=query, lists=True)


OPEN = {"GET /healthz", "GET /metrics", "GET /readyz", "POST /otlp/v1/traces"}
"""Nobody is asked who they are: no port of these is published."""
TABLE: dict[str, Takes] = {
    "GET /products": platform("viewer"),
    "GET /products/{product}/history": platform("viewer"),
    "GET /releases": platform("viewer"),
    "POST /products/{product}/activate": platform("operator", 404, {"digest": "sha256:" + "0" * 64}),
    "GET /status": platform("viewer"),
    "GET /rollouts": platform("viewer"),
    "GET /rollout-events": platform("viewer"),
    "GET /rollouts/{product}": platform("viewer"),
    "GET /rollouts/{product}/history": platform("viewer"),
    "POST /rollouts": platform("operator", 404, {"releases": [{"digest": "sha256:" + "0" * 64}]}),
    "POST /rollouts/{product}/{verb}": platform("operator", 409, WHY),
    "POST /products/{product}/rollback": platform("operator", 404, WHY),
    "GET /traces/{trace_id}": platform("viewer"),
    "GET /keys": part(),
    "POST /keys": org("admin", 201, {"org": "acme", "region": "eu", "plans": PLANS}),
    "GET /keys/{key_id}": org("viewer"),
    "POST /keys/{key_id}/rotate": org("admin", 201, {}),
    "PUT /keys/{key_id}/limits": org("admin", 200, {"rate": {"per_second": 5, "burst": 10}}),
    "DELETE /keys/{key_id}": org("admin", 204),
    "GET /orgs": part(),
    "GET /orgs/{org}": org("viewer"),
    "GET /orgs/{org}/budgets": org("viewer"),
    "GET /orgs/{org}/members": org("viewer"),
    "PUT /orgs/{org}/members/{who}": org("admin", 200, {"role": "admin"}),
    "DELETE /orgs/{org}/members/{who}": org("admin", 204),
    "POST /orgs/{org}/suspend": platform("admin", 200, WHY),
    "POST /orgs/{org}/resume": platform("admin", 409, WHY),
    "PUT /orgs": platform("operator", 200, {"terms": {"acme": {}}}),
    "GET /audit": part(),
    "GET /audit/verify": platform("viewer"),
    "GET /requests/{request_id}": org("viewer"),
    "GET /lanes": part(),
    "GET /dead-letters": part(),
    "POST /dead-letters/{letter_id}/replay": org("operator"),
    "GET /usage": part("?by=org"),
    "GET /webhooks": part(),
    "POST /webhooks": org("admin", 201, {"org": "acme", "url": URL}),
    "GET /webhooks/{webhook_id}": org("viewer"),
    "PATCH /webhooks/{webhook_id}": org("admin", 200, {"events": ["request.failed"]}),
    "POST /webhooks/{webhook_id}/rotate": org("admin", 200, {}),
    "DELETE /webhooks/{webhook_id}": org("admin", 204),
    "POST /webhooks/{webhook_id}/enable": org("operator", 409),
    "POST /webhooks/{webhook_id}/disable": org("operator", 200, WHY),
    "POST /webhooks/{webhook_id}/ping": org("operator", 202),
    "POST /webhooks/{webhook_id}/replay": org("operator", 202, {}),
}


class Caller(NamedTuple):
    """Somebody with a token: of a role over the platform, in an org, or of none."""

    role: Role | None
    org: str = ""
    listed: bool = False
    """Whether the role is in the org's list of members, not in the token."""

    def may(self, takes: Takes) -> bool:
        """Tell whether this one may call an endpoint about something of acme's."""
        reaches = not self.org or (takes.in_org and (takes.lists or self.org == "acme"))
        return self.role is not None and reaches and ROLES.index(self.role) >= ROLES.index(takes.role)

    def told(self, takes: Takes) -> int:
        """Return what this one is answered."""
        if self.may(takes):
            return takes.answer
        return 404 if takes.in_org and self.org == "globex" else 403

    def sees(self) -> set[str]:
        """Return the orgs of which there is something in what this one lists."""
        return set() if self.role is None else {self.org} if self.org else set(ORGS)


CALLERS = {
    "nobody": Caller(None),
    "admin of globex": Caller("admin", "globex"),
    "listed admin of globex": Caller("admin", "globex", listed=True),
    **{f"{role} of acme": Caller(role, "acme") for role in ROLES},
    **{f"listed {role} of acme": Caller(role, "acme", listed=True) for role in ROLES},
    **{f"platform {role}": Caller(role) for role in ROLES},
}


class World:
    """Two orgs with one of everything each, over adapters in process."""

    def __init__(self, folder: Path) -> None:
        self.office = Office(folder)
        self.ids = {"product": "orders", "verb": "promote", "trace_id": "0af7", "who": "ben"}

    async def furnish(self) -> None:
        office = self.office
        digest = await office.release()
        await activate(office.rollouts, office.loader, [digest], actor="ann", source="", why="", clock=office.clock)
        for name in ORGS:
            await office.keys.put(
                KeyRecord(id=f"key_{name}", sha256=name, org=name, region="eu", plans=PLANS, created_ms=0)
            )
            await office.orgs.put_terms(name, OrgTerms(region="eu", entitlements=PLANS))
            await office.webhooks.add(
                Webhook(
                    id=f"wh_{name}", org=name, url=f"https://{name}.example/x", secret=b"x", created_ms=1, state_ms=1
                )
            )
            await office.backends.by(By(actor="root", source="CANARY")).members.change(name, "ben", None, "viewer")
        await self._requests()
        self.ids |= {"key_id": "key_acme", "webhook_id": "wh_acme", "org": "acme"}
        (letter,) = await office.bus.dead_letters("orders", 10, org="acme")
        self.ids |= {"letter_id": letter.id, "request_id": letter.envelope.id}

    async def _requests(self) -> None:
        """Let one request of each org be given up, and then another wait."""
        bus, now_ms = self.office.bus, int(self.office.clock.time() * 1000)
        for at, name in enumerate((*ORGS, *ORGS)):
            made = self.office.receipts.mint(name, "orders", "sha256:aa", now_ms, os.urandom)
            await bus.publish(
                envelope(id=made, org=name, plan="free", accepted_ms=now_ms, deadline_ms=2**50, timeout_s=1.0)
            )
            if at < len(ORGS):
                (taken,) = await bus.receive("w", BOUNDS, 1)
                why = Problem(code="backend-failed", detail="It answered 500.")
                failed = result(taken, "failed", finished_ms=now_ms, error=why)
                await bus.settle([Settlement(delivery=taken, result=failed, dead_letter=why)])

    async def token(self, caller: Caller) -> str:
        """Return a caller's token, which says `Cleo`; lists say `cleo`."""
        role, of, subject = caller.role, caller.org, f"Cleo-of-{caller.org}-as-{caller.role}"
        if caller.listed:
            await self.office.backends.members.change(of, subject.lower(), None, role)
            role, of = None, ""
        return self.office.operators.mint(subject, role, org=of, hours=1, random=lambda size: b"x" * size)

    async def state(self) -> dict[str, Any]:
        """Return all that a call could have changed."""
        office = self.office
        return {
            "keys": await office.keys.list_keys(),
            "orgs": await office.orgs.list_orgs(),
            "webhooks": await office.webhooks.list_webhooks(),
            "members": [await office.backends.members.of_org(name) for name in ORGS],
            "letters": await office.bus.dead_letters(),
            "waiting": await office.bus.depth(),
            "rollouts": await office.rollouts.read(),
            "audit": await office.audit.head(),
        }

    async def call(self, endpoint: str, token: str, query: str | None = None, **ids: str) -> httpx.Response:
        takes = TABLE[endpoint]
        method, path = endpoint.format(**{**self.ids, **ids}).split(" ")
        transport = httpx.ASGITransport(self.office.app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client:
            return await client.request(method, f"/api/v1{path}{query or takes.query}", json=takes.body)


Worlds = Callable[[], Awaitable[World]]


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worlds:
    """Return what makes one anew."""

    async def nothing(_: str) -> AsyncIterator[tuple[str, AuditEntry]]:
        return
        yield

    async def another() -> World:
        world = World(tmp_path / str(next(numbers)))
        monkeypatch.setattr(world.office.rollouts, "events", nothing)  # the stream ends
        await world.furnish()
        return world

    numbers = itertools.count()
    return another


@pytest.fixture
async def world(worlds: Worlds) -> World:
    return await worlds()


def test_every_endpoint_is_in_the_table() -> None:
    found = {
        f"{method} {route.path.removeprefix('/api/v1')}"
        for route in routes_of(Office(Path("unused")).app.routes)
        for method in route.methods or ()
    }
    assert found == {*TABLE, *OPEN}


@pytest.mark.parametrize("endpoint", TABLE)
async def test_each_caller_gets_what_the_table_says_and_who_is_refused_changes_nothing(
    worlds: Worlds, endpoint: str
) -> None:
    takes, told, world = TABLE[endpoint], {}, await worlds()
    for name, caller in CALLERS.items():
        token, before = await world.token(caller), await world.state()
        told[name] = (await world.call(endpoint, token)).status_code
        if await world.state() != before:
            assert caller.may(takes), name
            world = await worlds()
    assert told == {name: caller.told(takes) for name, caller in CALLERS.items()}


@pytest.mark.parametrize("endpoint", [name for name, takes in TABLE.items() if takes.lists])
async def test_each_caller_lists_what_is_of_their_orgs(world: World, endpoint: str) -> None:
    said = {name: (await world.call(endpoint, await world.token(caller))).text for name, caller in CALLERS.items()}
    seen = {name: {org for org in ORGS if org in text} for name, text in said.items()}
    assert seen == {name: caller.sees() for name, caller in CALLERS.items()}


async def test_a_stranger_gets_nothing(world: World) -> None:
    before = await world.state()
    assert {(await world.call(endpoint, "")).status_code for endpoint in TABLE} == {401}
    assert await world.state() == before


BY_ID = {
    name: re.findall(r"{(key_id|webhook_id|org|request_id|letter_id)}", name)[0]
    for name, takes in TABLE.items()
    if takes.in_org and "{" in name
}
UNKNOWN: dict[str, Callable[[str], str]] = {
    "key_id": lambda _: "key_unknown",
    "webhook_id": lambda _: "wh_unknown",
    "org": lambda _: "unknown",
    "request_id": lambda known: known[:-1] + ("A" if known[-1] != "A" else "B"),
    "letter_id": lambda known: known + "9",
}


@pytest.mark.parametrize("endpoint", BY_ID)
async def test_what_is_another_orgs_is_answered_like_what_is_nowhere(world: World, endpoint: str) -> None:
    field, token = BY_ID[endpoint], await world.token(CALLERS["admin of globex"])
    another = await world.call(endpoint, token)
    nowhere = await world.call(endpoint, token, **{field: UNKNOWN[field](world.ids[field])})
    assert (another.status_code, another.headers, another.content) == (404, nowhere.headers, nowhere.content)


@pytest.mark.parametrize("path", ["/keys", "/webhooks", "/audit", "/usage"])
async def test_who_asks_for_another_orgs_list_is_told_that_there_is_none(world: World, path: str) -> None:
    token = await world.token(CALLERS["admin of acme"])
    another, nowhere = [await world.call(f"GET {path}", token, f"?org={name}") for name in ("globex", "unknown")]
    assert (another.status_code, another.content) == (404, nowhere.content)
    assert (await world.call(f"GET {path}", token, "?org=acme")).status_code == 200


async def test_who_is_of_several_orgs_sees_what_is_of_either(world: World) -> None:
    roles: dict[str, Role] = {"acme": "viewer", "globex": "admin"}
    for name, role in roles.items():
        await world.office.backends.members.change(name, "cleo-of--as-none", None, role)
    token = await world.token(CALLERS["nobody"])
    for path in ("/keys", "/webhooks", "/audit", "/orgs", "/lanes", "/dead-letters"):
        answer = await world.call(f"GET {path}", token)
        assert all(name in answer.text for name in ORGS), path
    assert (await world.call("GET /usage", token)).status_code == 422  # it is asked of one
    assert (await world.call("DELETE /keys/{key_id}", token)).status_code == 403
    assert (await world.call("DELETE /keys/{key_id}", token, key_id="key_globex")).status_code == 204


async def test_who_is_removed_is_refused_from_the_next_call_on(world: World) -> None:
    token = await world.token(CALLERS["listed admin of acme"])
    assert (await world.call("GET /keys/{key_id}", token)).status_code == 200
    assert (await world.call("DELETE /orgs/{org}/members/{who}", token, who="cleo-of-acme-as-admin")).status_code == 204
    assert (await world.call("GET /keys/{key_id}", token)).status_code == 403


async def test_whence_an_operator_called_is_not_an_orgs_business(world: World) -> None:
    token = await world.token(CALLERS["admin of acme"])
    assert "CANARY" not in (await world.call("GET /audit", token)).text
    assert "CANARY" in (await world.call("GET /audit", await world.token(CALLERS["platform viewer"]))).text


BEYOND: dict[str, dict[str, Any]] = {
    "a plan that the org is not entitled to": {"plans": {"orders": "gold"}},
    "a product that the org is not entitled to": {"plans": {**PLANS, "exports": "free"}},
    "a region that is not the org's": {"region": "us"},
}


@pytest.mark.parametrize("beyond", BEYOND.values(), ids=BEYOND.keys())
async def test_an_org_gives_itself_no_key_beyond_its_entitlements(
    world: World, monkeypatch: pytest.MonkeyPatch, beyond: dict[str, Any]
) -> None:
    endpoint, before = "POST /keys", await world.state()
    wish = TABLE[endpoint]._replace(body={**TABLE[endpoint].body, **beyond})
    monkeypatch.setitem(TABLE, endpoint, wish)
    answer = await world.call(endpoint, await world.token(CALLERS["admin of acme"]))
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported")
    assert await world.state() == before


async def test_an_org_whose_entitlements_are_not_known_gives_itself_no_key(world: World) -> None:
    await world.office.orgs.put_terms("acme", OrgTerms())
    answer = await world.call("POST /keys", await world.token(CALLERS["admin of acme"]))
    assert answer.status_code == 422
    assert "acme is entitled to nothing" in answer.json()["detail"]


async def test_a_store_that_is_away_lets_no_member_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: str) -> dict[str, Role]:
        raise Unavailable("the store is away")

    token = await world.token(CALLERS["listed admin of acme"])
    monkeypatch.setattr(world.office.backends.members, "roles_of", away)
    assert (await world.call("GET /keys", token)).status_code == 503
    assert (await world.call("GET /keys", await world.token(CALLERS["platform viewer"]))).status_code == 200


async def test_members_are_changed_once_and_recorded(world: World) -> None:
    token, path = await world.token(CALLERS["admin of acme"]), "PUT /orgs/{org}/members/{who}"
    said = [(await world.call(path, token, who="Dan@acme.example")).json() for _ in range(2)]
    dan = {"org": "acme", "who": "dan@acme.example", "role": "admin"}
    assert said == [{**dan, "changed": True}, {**dan, "changed": False}]
    assert dan in (await world.call("GET /orgs/{org}/members", token)).json()
    assert (await world.call("DELETE /orgs/{org}/members/{who}", token, who="dan@acme.example")).status_code == 204
    assert (await world.call("DELETE /orgs/{org}/members/{who}", token, who="dan@acme.example")).status_code == 404
    told = [(one.subject, one.org, one.before, one.after) for one in (await world.office.audit.read())[-2:]]
    assert told == [
        ("member dan@acme.example", "acme", "none", "admin"),
        ("member dan@acme.example", "acme", "admin", "none"),
    ]


async def test_what_is_nobodys_name_is_no_member(world: World) -> None:
    token = await world.token(CALLERS["admin of acme"])
    assert (await world.call("PUT /orgs/{org}/members/{who}", token, who="a%20b")).status_code == 422


async def test_a_members_roles_are_asked_for_once_a_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, members = [], world.office.backends.members
    roles_of = members.roles_of

    async def counted(who: str) -> Mapping[str, Role]:
        asked.append(who)
        return await roles_of(who)

    token = await world.token(CALLERS["listed admin of acme"])
    monkeypatch.setattr(members, "roles_of", counted)
    assert (await world.call("POST /keys", token)).status_code == 201
    assert asked == ["cleo-of-acme-as-admin"]
