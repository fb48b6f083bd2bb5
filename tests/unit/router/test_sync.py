from __future__ import annotations

import base64
import json

import pytest

from apx.catalog.model import PlanSpec, Rate, Route
from apx.policy.decision import Decision
from tests.unit.release.examples import JWT, release, spec
from tests.unit.router.desk import Answer, Desk


async def admitted(desk: Desk, method: str = "GET", path: str = "/files/a", **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await desk.ask(method, f"/-/admit{path}", {**desk.headers, **fields})


async def test_an_admitted_request_goes_on_with_the_policys_fields(desk: Desk) -> None:
    desk.policy.decision = Decision(allow=True, reason="ok", headers={"x-tier": "gold"})
    answer = await admitted(desk)
    assert (answer.status, answer.body, answer.headers["x-tier"]) == (200, b"", "gold")
    assert answer.headers["ratelimit"] == '"plan";r=999;t=1'


async def test_the_clients_credentials_do_not_go_on(desk: Desk) -> None:
    removed = (await admitted(desk)).headers["x-envoy-auth-headers-to-remove"].split(",")
    assert {"authorization", "x-api-key", "cookie", "x-apx-jwt-payload"} <= set(removed)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_the_method_is_the_clients(desk: Desk, method: str) -> None:
    await admitted(desk, method)
    assert desk.policy.shown[-1]["request"]["method"] == method


REFUSED = {
    "no product": ("GET", "/nothing", 404, "not-found"),
    "no route": ("GET", "/files/a/b", 404, "not-found"),
    "method": ("OPTIONS", "/files/a", 405, "method-not-allowed"),
    "path": ("GET", "/files/..;/a", 400, "path-invalid"),
    "no path": ("GET", "", 400, "path-invalid"),
    "next to the prefix": ("GET", "x", 400, "path-invalid"),
    "an async product": ("GET", "/orders", 503, "product-moving"),
    "itself": ("GET", "/-/admit/files/a", 404, "not-found"),
}


@pytest.mark.parametrize(("method", "path", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_refusal_is_a_problem(desk: Desk, method: str, path: str, status: int, code: str) -> None:
    answer = await admitted(desk, method, path)
    assert (answer.status, answer.code) == (status, code)


async def test_a_deny_is_passed_on(desk: Desk) -> None:
    desk.policy.decision = Decision(allow=False, reason="closed")
    answer = await admitted(desk)
    assert (answer.status, answer.code) == (403, "closed")


async def test_a_used_up_rate_is_passed_on(desk: Desk) -> None:
    desk.serve(plan=PlanSpec(title="S", rate=Rate(per_second=0.1, burst=1)))
    await admitted(desk)
    answer = await admitted(desk)
    assert (answer.status, answer.headers["retry-after"]) == (429, "10")


async def test_without_the_keys_nothing_is_admitted(desk: Desk) -> None:
    desk.keys.away = True
    assert (await admitted(desk)).status == 503


async def test_a_crash_of_ours_admits_nothing(desk: Desk) -> None:
    desk.policy.crash = True
    assert (await admitted(desk)).status == 500


@pytest.fixture
def with_jwt(desk: Desk) -> Desk:
    files = spec(base_path="/files", mode="sync", auth=JWT, routes=(Route(path="/{name}"),))
    live = desk.products["files"]
    desk.products["files"] = type(live)(release("files", files), desk.policy)
    desk.serve_products()
    return desk


def payload(claims: bytes) -> str:
    return base64.urlsafe_b64encode(claims).rstrip(b"=").decode()


async def test_the_policy_sees_the_verified_claims(with_jwt: Desk) -> None:
    claims = json.dumps({"sub": "me"}).encode()
    assert (await admitted(with_jwt, x_apx_jwt_payload=payload(claims))).status == 200
    assert with_jwt.policy.shown[-1]["claims"] == {"sub": "me"}


BAD_CLAIMS = {
    "none": "",
    "no base64": "!",
    "no JSON": payload(b"{"),
    "no object": payload(b"[]"),
    "a name twice": payload(b'{"sub":"me","sub":"you"}'),
    "no UTF-8": payload(b'{"sub":"\xff"}'),
    "out of its place": payload(b'{},"org":"evil"'),
    "obs-text": "\xff",
    "very deep": payload(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
}


@pytest.mark.parametrize("given", BAD_CLAIMS.values(), ids=BAD_CLAIMS.keys())
async def test_claims_that_cannot_be_read_in_one_way_are_nobodys(with_jwt: Desk, given: str) -> None:
    answer = await admitted(with_jwt, x_apx_jwt_payload=given)
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_a_token_is_not_taken_for_a_key(with_jwt: Desk) -> None:
    headers = {"authorization": f"Bearer {with_jwt.key}", "x-apx-jwt-payload": payload(b"{}")}
    assert (await with_jwt.ask("GET", "/-/admit/files/a", headers)).status == 401


async def test_claims_of_a_product_without_tokens_are_not_shown(desk: Desk) -> None:
    await admitted(desk, x_apx_jwt_payload=payload(b'{"sub":"me"}'))
    assert "claims" not in desk.policy.shown[-1]
