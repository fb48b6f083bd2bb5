"""The life of a key, through every real part: given, used, rotated, taken back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import threading
import time
from typing import Any

import httpx
import pytest

from apx import bootstrap
from apx.admission.imports import import_keys
from apx.catalog.load import load_catalog
from apx.local.platform import Platform, environment_of
from tests.e2e.platform.client import ORDER, eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("platform", ["local", "gcp"], indirect=True),
]

WISH: dict[str, Any] = {"org": "acme", "region": "us", "plans": {"orders": "enterprise", "exports": "enterprise"}}


def made(control: httpx.Client, **terms: Any) -> dict[str, Any]:
    answer = control.post("/keys", json={**WISH, **terms})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def asked(platform: Platform, key: str, method: str = "POST", path: str = "/orders/", **headers: str) -> httpx.Response:
    with httpx.Client(base_url=platform.edge, timeout=60, trust_env=False) as client:
        body = {"days": 30} if path.startswith("/exports") else ORDER
        return client.request(method, path, json=body, headers={"X-API-Key": key, **headers})


class Followed(threading.Thread):
    """A stream of events that is followed until it ends."""

    def __init__(self, platform: Platform, key: str, location: str) -> None:
        super().__init__()
        self._url, self._key = f"{platform.edge}{location}/events", key
        self.lines: list[str] = []
        self.ended = 0.0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with httpx.stream(
                "GET", self._url, headers={"X-API-Key": self._key}, timeout=60, trust_env=False
            ) as answer:
                self.lines += [line for line in answer.iter_lines() if line]
        except httpx.HTTPError as error:  # a response that was cut, not ended
            self.error = error
        self.ended = time.monotonic()


class Waiting(threading.Thread):
    """A client that waits for a result."""

    def __init__(self, platform: Platform, key: str, location: str) -> None:
        super().__init__()
        self._asked = (platform, key, "GET", f"{location}/result")
        self.answer = httpx.Response(0)
        self.ended = 0.0

    def run(self) -> None:
        self.answer = asked(*self._asked, Prefer="wait=40")
        self.ended = time.monotonic()


def test_a_key_has_limits_of_its_own_and_a_rotation_gives_it_no_new_day(
    platform: Platform, control: httpx.Client
) -> None:
    old = made(control, rate={"per_second": 0.001, "burst": 3}, quotas={"day": 4})
    assert [asked(platform, old["key"]).status_code for _ in range(4)] == [202, 202, 202, 429]
    refused = asked(platform, old["key"])
    assert refused.headers["ratelimit"].startswith('"key";r=0')
    assert refused.json()["detail"] == "This key's own rate is used up."

    new = control.post(f"/keys/{old['id']}/rotate", json={}).json()
    assert eventually(lambda: asked(platform, new["key"]).status_code == 429)
    assert control.put(f"/keys/{new['id']}/limits", json={"quotas": {"day": 4}}).status_code == 200
    assert eventually(lambda: asked(platform, new["key"]).status_code == 202, within_s=3)
    refused = asked(platform, new["key"])
    assert (refused.status_code, refused.json()["code"]) == (429, "quota-exceeded")
    assert refused.headers["ratelimit"].startswith('"key.day";r=0')


def test_a_key_is_given_rotated_and_taken_back(platform: Platform, control: httpx.Client) -> None:
    old = made(control)
    assert asked(platform, old["key"]).status_code == 202

    new = control.post(f"/keys/{old['id']}/rotate", json={"grace_s": 600}).json()
    assert eventually(lambda: asked(platform, new["key"]).status_code == 202)
    assert asked(platform, old["key"]).status_code == 202

    export = asked(platform, old["key"], path="/exports/?seconds=60").headers["location"]
    others = (Followed(platform, old["key"], export), Waiting(platform, old["key"], export))
    kept = Followed(platform, new["key"], export)
    for thread in (*others, kept):
        thread.start()
    assert eventually(lambda: asked(platform, new["key"], "GET", export).json()["state"] == "running")
    threading.Event().wait(0.5)  # all three have been answered to by now

    assert control.delete(f"/keys/{old['id']}").status_code == 204
    revoked = time.monotonic()
    stream, wait = others
    for thread in others:
        thread.join(20)
    assert stream.error is None
    assert max(stream.ended, wait.ended) - revoked < 1
    assert stream.lines[-2] == "event: problem"
    assert json.loads(stream.lines[-1].removeprefix("data: "))["code"] == "unauthenticated"
    assert (wait.answer.status_code, wait.answer.json()["code"]) == (401, "unauthenticated")
    never = asked(platform, old["key"][:-1] + ("0" if old["key"][-1] != "0" else "1"))
    gone = asked(platform, old["key"])
    assert {**gone.json(), "request_id": ""} == {**never.json(), "request_id": ""}

    assert kept.is_alive()
    assert asked(platform, new["key"], "DELETE", export).status_code == 200
    kept.join(20)
    assert json.loads(kept.lines[-1].removeprefix("data: "))["state"] == "cancelled"
    control.delete(f"/keys/{new['id']}")


def test_a_grace_that_is_over_is_an_expired_key(platform: Platform, control: httpx.Client) -> None:
    old = made(control)
    assert asked(platform, old["key"]).status_code == 202
    control.post(f"/keys/{old['id']}/rotate", json={"grace_s": 1})
    assert eventually(lambda: asked(platform, old["key"]).status_code == 401, within_s=5)


def test_terms_are_kept_by_the_real_edge(platform: Platform, control: httpx.Client) -> None:
    here = made(control, allowlist=["127.0.0.0/8"])
    away = made(control, allowlist=["192.0.2.0/24"])
    reader = made(control, scopes={"orders": ["GET"]})
    assert asked(platform, here["key"]).status_code == 202
    refused = asked(platform, away["key"], **{"X-Forwarded-For": "192.0.2.1", "X-Envoy-External-Address": "192.0.2.1"})
    assert (refused.status_code, refused.json()["code"]) == (403, "address-not-allowed")
    narrow = asked(platform, reader["key"])
    assert (narrow.status_code, narrow.json()["code"]) == (403, "insufficient-scope")
    assert narrow.headers["content-type"] == "application/problem+json"


def test_an_imported_key_works_without_a_restart(platform: Platform, control: httpx.Client) -> None:
    foreign = f"zz_live_{secrets.token_hex(16)}"
    line = {"sha256": hashlib.sha256(foreign.encode()).hexdigest(), "org": "acme", "prefix": "zz_live_"}

    async def take_over() -> str:
        async with bootstrap.backends(platform.settings) as backends:
            catalog = load_catalog(platform.settings.gitops)
            imported = await import_keys(backends.keys, catalog, [json.dumps(line).encode()], bootstrap.CLOCK)
            return imported.added[0].id

    assert asked(platform, foreign).status_code == 401
    with environment_of(platform.settings):
        key_id = asyncio.run(take_over())
    assert eventually(lambda: asked(platform, foreign).status_code == 202, within_s=5)
    assert control.delete(f"/keys/{key_id}").status_code == 204
    assert eventually(lambda: asked(platform, foreign).status_code == 401, within_s=2)
