"""A member of an org in the real processes: makes the org's keys, sees its requests, and nothing of another's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import httpx
import pytest

from apx import bootstrap
from apx.local.platform import Platform
from tests.e2e.platform.client import ORDER, Client

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("platform", ["local", "gcp"], indirect=True),
]
ANN = "ann@acme.example"


def calling(platform: Platform, token: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{platform.control}/api/v1", headers=headers, timeout=30, trust_env=False)


@pytest.fixture
def root(platform: Platform) -> Iterator[httpx.Client]:
    with calling(platform, platform.admin_token) as client:
        yield client


@pytest.fixture
def ann(platform: Platform) -> Iterator[httpx.Client]:
    """Somebody with a token that says who she is, and nothing else."""
    token = bootstrap.operators(platform.settings).mint(ANN, None, hours=1, random=os.urandom)
    with calling(platform, token) as client:
        yield client


@pytest.fixture
def be(root: httpx.Client) -> Iterator[Callable[[str], None]]:
    """Let Ann be something in acme, until the test ends."""

    def be(role: str) -> None:
        assert root.put(f"/orgs/acme/members/{ANN}", json={"role": role}).status_code == 200

    yield be
    root.delete(f"/orgs/acme/members/{ANN}")


def test_an_orgs_admin_makes_a_key_that_serves_and_none_beyond_the_orgs_entitlements(
    platform: Platform, ann: httpx.Client, be: Callable[[str], None]
) -> None:
    wish = {"org": "acme", "region": "us", "plans": {"orders": "enterprise"}}
    assert ann.post("/keys", json=wish).status_code == 403
    be("admin")
    made = ann.post("/keys", json=wish)
    assert made.status_code == 201, made.text
    with httpx.Client(base_url=platform.edge, headers={"X-API-Key": made.json()["key"]}, trust_env=False) as client:
        assert client.post("/orders/", json=ORDER, timeout=30).status_code == 202
    assert ann.post("/keys", json={**wish, "plans": {"orders": "free"}}).status_code == 422
    assert ann.post("/keys", json={**wish, "org": "globex"}).status_code == 404
    assert ann.delete(f"/keys/{made.json()['id']}").status_code == 204


def test_a_viewer_sees_the_orgs_requests_and_no_others(
    acme: Client, globex: Client, ann: httpx.Client, be: Callable[[str], None]
) -> None:
    be("viewer")
    ours, theirs = (client.order().headers["location"].rpartition("/")[2] for client in (acme, globex))
    assert ann.get(f"/requests/{ours}").status_code == 200
    assert ann.get(f"/requests/{theirs}").status_code == 404
    assert {one["org"] for one in ann.get("/keys").json()} == {"acme"}
    assert {one["org"] for one in ann.get("/audit?limit=500").json()} == {"acme"}
    assert ann.get("/rollouts").status_code == 403


def test_who_is_removed_is_refused_at_once(root: httpx.Client, ann: httpx.Client, be: Callable[[str], None]) -> None:
    be("operator")
    assert ann.get("/dead-letters").status_code == 200
    assert root.delete(f"/orgs/acme/members/{ANN}").status_code == 204
    assert ann.get("/dead-letters").status_code == 403
    told = [(one["before"], one["after"]) for one in root.get("/audit?org=acme&action=org-member&limit=2").json()]
    assert told == [("operator", "none"), ("none", "operator")]
