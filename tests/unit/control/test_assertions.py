"""What the identity-aware proxy says of somebody, and what others say in its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from fastapi import FastAPI
from jwt.algorithms import ECAlgorithm

from apx.admission.assertions import (
    EVERYBODY,
    FETCH_AGAIN_S,
    FRESH_S,
    HEADER,
    ISSUER,
    Assertions,
    KeyCache,
    Keys,
    Roles,
)
from apx.admission.operators import Operator, Operators
from apx.backends.gcp.iap import fetch_keys
from apx.backends.memory.members import MemoryMembers
from apx.clock import ManualClock
from services.control.access import Access, depends
from services.control.orgs import of_path
from services.control.pace import Pace
from services.control.problems import answer_with_problems
from tests.unit.control.office import UNHURRIED

AUDIENCE = "/projects/123/global/backendServices/456"
NOW_S = 1_800_000_000.0
PROXY = generate_private_key(SECP256R1())
STRANGER = generate_private_key(SECP256R1())
ROLES = Roles(
    admins=frozenset({"root@example.com"}),
    operators=frozenset({"ops@example.com"}),
    viewers=frozenset({"auditor@example.com"}),
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_S)


def reader(clock: ManualClock, audience: str = AUDIENCE) -> Assertions:
    return Assertions(audience, ROLES, KeyCache(lambda: {"k1": PROXY.public_key()}, clock), clock)


def claims(**changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "email": "ops@example.com", "sub": "accounts.google.com:1"}
    said |= {"iat": int(NOW_S) - 5, "exp": int(NOW_S) + 600}
    return {name: value for name, value in {**said, **changes}.items() if value is not None}


def signed(
    said: Mapping[str, Any], key: EllipticCurvePrivateKey = PROXY, kid: str = "k1", algorithm: str = "ES256"
) -> str:
    return jwt.encode(dict(said), key, algorithm=algorithm, headers={"kid": kid})


@pytest.mark.parametrize(
    ("email", "role"),
    [
        ("root@example.com", "admin"),
        ("OPS@example.com", "operator"),
        ("auditor@example.com", "viewer"),
        ("somebody@example.com", None),
    ],
)
def test_somebody_has_the_role_of_the_lists(clock: ManualClock, email: str, role: Any) -> None:
    assert reader(clock).read(signed(claims(email=email))) == Operator(email.lower(), role, member=True)


def test_everybody_may_be_a_viewer_and_no_more() -> None:
    roles = Roles(admins=frozenset({"root@example.com"}), viewers=frozenset({EVERYBODY}))
    assert [roles.of(email) for email in ("root@example.com", "somebody@example.com")] == ["admin", "viewer"]


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://accounts.google.com"},
        {"aud": "/projects/123/global/backendServices/457"},
        {"aud": [AUDIENCE]},
        {"aud": None},
        {"email": None},
        {"email": 5},
        {"email": "a b"},
        {"exp": int(NOW_S) - 60},
        {"exp": None},
        {"exp": str(int(NOW_S) + 600)},
        {"exp": True},
        {"iat": int(NOW_S) + 120},
        {"iat": None},
    ],
    ids=str,
)
def test_what_the_proxy_did_not_say_now_of_somebody_to_us_is_nobody(
    clock: ManualClock, changes: dict[str, Any]
) -> None:
    assert reader(clock).read(signed(claims(**changes))) is None


def test_a_strangers_signature_is_nobodys(clock: ManualClock) -> None:
    assert reader(clock).read(signed(claims(), STRANGER)) is None


def test_a_key_that_is_not_the_proxys_is_nobodys(clock: ManualClock) -> None:
    assert reader(clock).read(signed(claims(), STRANGER, kid="k2")) is None


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_another_algorithm_is_nobodys(clock: ManualClock, algorithm: str) -> None:
    key = "x" * 32 if algorithm == "HS256" else ""
    forged = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": "k1"})
    assert reader(clock).read(forged) is None


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "é" * 20, "e" * 5_000, "eyJhbGciOiJub25lIn0.e30."])
def test_other_texts_are_nobody(clock: ManualClock, text: str) -> None:
    assert reader(clock).read(text) is None


@pytest.mark.parametrize(
    ("audience", "ours"),
    [
        ("/projects/123/global/backendServices/9", True),
        ("/projects/123/global/backendServices/9/x", False),
        ("/projects/124/global/backendServices/9", False),
        ("/projects/123/global/backendServices/", False),
    ],
)
def test_an_audience_may_be_every_backend_service_of_a_project(
    clock: ManualClock,
    audience: str,
    ours: bool,  # noqa: FBT001
) -> None:
    found = reader(clock, "/projects/123/global/backendServices/*").read(signed(claims(aud=audience)))
    assert (found is not None) == ours


class TestKeys:
    def test_unknown_keys_do_not_make_us_ask_each_time(self, clock: ManualClock) -> None:
        asked: list[int] = []

        def fetch() -> Keys:
            asked.append(1)
            return {"k1": "key"}

        keys = KeyCache(fetch, clock)
        assert [keys.get(f"unknown-{n}") for n in range(100)] == [None] * 100
        assert len(asked) == 1
        clock.advance(FETCH_AGAIN_S)
        assert keys.get("unknown") is None
        assert len(asked) == 2

    def test_a_new_key_is_found(self, clock: ManualClock) -> None:
        served = {"k1": "old"}
        keys = KeyCache(lambda: dict(served), clock)
        assert keys.get("k1") == "old"
        served["k2"] = "new"
        clock.advance(FETCH_AGAIN_S)
        assert keys.get("k2") == "new"

    def test_known_keys_stay_while_they_cannot_be_fetched(self, clock: ManualClock) -> None:
        answers: list[Keys | None] = [{"k1": "key"}, None]
        keys = KeyCache(lambda: answers.pop(0), clock)
        assert keys.get("k1") == "key"
        clock.advance(FRESH_S + 1)
        assert keys.get("k1") == "key"

    @pytest.mark.parametrize(
        ("status", "body"),
        [(500, b"{}"), (302, b""), (200, b"<html>"), (200, b'{"keys": []}'), (200, b"[" * 100_000), (200, b"\xff")],
        ids=["500", "302", "html", "empty", "deep", "binary"],
    )
    def test_what_is_no_set_of_keys_is_none(self, status: int, body: bytes) -> None:
        with served(status, body) as url:
            assert fetch_keys(url) is None

    def test_a_set_of_keys_is_read(self) -> None:
        key = {**json.loads(ECAlgorithm.to_jwk(PROXY.public_key())), "kid": "k1", "alg": "ES256", "use": "sig"}
        with served(200, json.dumps({"keys": [key]}).encode()) as url:
            found = fetch_keys(url)
        assert found is not None
        assert found["k1"].public_numbers() == PROXY.public_key().public_numbers()

    def test_nobody_there_is_none(self) -> None:
        assert fetch_keys("http://127.0.0.1:1/") is None


class served:  # noqa: N801 -- reads as a verb where it is used
    """A server on this machine that answers one thing."""

    def __init__(self, status: int, body: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("location", "http://127.0.0.1:1/")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class TestApi:
    """The header at the door of the control API."""

    @pytest.fixture(autouse=True)
    def _no_members(self) -> None:
        self.members = MemoryMembers()

    def client(self, clock: ManualClock, *, behind_proxy: bool) -> httpx.AsyncClient:
        reads = reader(clock).read if behind_proxy else None
        access = Access(Operators(b"s" * 32, clock), "apxadm_x", self.members, Pace(clock, UNHURRIED), reads)
        app, operating = FastAPI(), depends(access, "operator", of_path)
        answer_with_problems(app)

        @app.get("/orgs/{org}")
        def of_org(org: str, caller: Operator = operating) -> dict[str, str]:
            return {"subject": caller.subject, "role": caller.orgs[org]}

        @app.get("/me")
        def me(caller: Operator = depends(access, "viewer")) -> dict[str, str]:  # noqa: B008 -- FastAPI's way
            return {"subject": caller.subject, "role": str(caller.role)}

        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://control")

    async def test_an_assertion_says_who_calls(self, clock: ManualClock) -> None:
        answer = await self.client(clock, behind_proxy=True).get("/me", headers={HEADER: signed(claims())})
        assert answer.json() == {"subject": "ops@example.com", "role": "operator"}

    async def test_whom_no_list_names_is_what_orgs_say_and_nothing_else(self, clock: ManualClock) -> None:
        client, said = self.client(clock, behind_proxy=True), {HEADER: signed(claims(email="Ann@acme.example"))}
        assert (await client.get("/orgs/acme", headers=said)).status_code == 403
        await self.members.change("acme", "ann@acme.example", None, "operator")
        found = await client.get("/orgs/acme", headers=said)
        assert found.json() == {"subject": "ann@acme.example", "role": "operator"}
        assert (await client.get("/orgs/globex", headers=said)).status_code == 404
        assert (await client.get("/me", headers=said)).status_code == 403

    async def test_beside_a_bad_assertion_no_token_counts(self, clock: ManualClock) -> None:
        said = {HEADER: signed(claims(), STRANGER), "authorization": "Bearer apxadm_x"}
        answer = await self.client(clock, behind_proxy=True).get("/me", headers=said)
        assert answer.status_code == 401

    async def test_without_a_proxy_its_header_says_nothing(self, clock: ManualClock) -> None:
        client = self.client(clock, behind_proxy=False)
        assert (await client.get("/me", headers={HEADER: signed(claims())})).status_code == 401
        said = {HEADER: signed(claims()), "authorization": "Bearer apxadm_x"}
        assert (await client.get("/me", headers=said)).json()["role"] == "admin"
