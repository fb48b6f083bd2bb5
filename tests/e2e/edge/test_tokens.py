from __future__ import annotations

import base64
import json

import pytest

from tests.e2e.edge import tokens
from tests.e2e.edge.raw import request, send
from tests.e2e.edge.world import World

pytestmark = pytest.mark.e2e
BAD = tokens.bad()


def _headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "x-api-key": "good"}


def test_a_good_token_passes_and_its_claims_reach_admission_alone(edge: World) -> None:
    answer = edge.call("GET", "/payslips/7", headers=_headers(tokens.good(sub="bob")))
    assert answer.status_code == 200
    asked, got = edge.router.seen[0], edge.backend.seen[0]
    payload = asked.header("x-apx-jwt-payload") or ""
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"] == "bob"
    assert asked.header("authorization") is None
    assert (got.header("authorization"), got.header("x-apx-jwt-payload")) == (None, None)


def test_an_asynchronous_product_gets_the_claims_at_the_router(edge: World) -> None:
    answer = edge.call("POST", "/letters", headers=_headers(tokens.good()))
    assert answer.status_code == 202
    assert edge.router.seen[0].header("x-apx-jwt-payload")


@pytest.mark.parametrize("path", ["/payslips/7", "/letters/7"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_gets_one_and_the_same_answer(edge: World, name: str, path: str) -> None:
    answer = edge.call("GET", path, headers=_headers(BAD[name]))
    body = answer.json()
    assert (answer.status_code, body.pop("request_id") != "") == (401, True)
    assert body == {
        "code": "unauthenticated",
        "status": 401,
        "title": "A valid token is asked for.",
        "type": "about:blank",
    }
    assert answer.headers["www-authenticate"] == "Bearer"
    assert not edge.router.seen
    assert not edge.backend.seen


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "good"},
        {"authorization": f"Basic {tokens.good()}"},
        {"authorization": f"Bearer  {tokens.good()}"},
        {"authorization": f"Bearer {tokens.good()} x"},
        {"authorization": f"Bearer {tokens.good()}, Bearer {tokens.good(sub='eve')}"},
        {"cookie": f"access_token={tokens.good()}"},
        {"x-apx-jwt-payload": tokens.good().split(".")[1]},
    ],
)
def test_a_token_stands_in_the_authorization_field_alone(edge: World, headers: dict[str, str]) -> None:
    assert edge.call("GET", "/payslips/7", headers=headers).status_code == 401
    assert not edge.router.seen


def test_a_token_in_the_query_is_none(edge: World) -> None:
    assert edge.call("GET", "/payslips/7", params={"access_token": tokens.good()}).status_code == 401


def test_two_tokens_in_two_fields_are_none(edge: World) -> None:
    fields = (f"Authorization: Bearer {tokens.good()}", f"Authorization: Bearer {tokens.good(sub='eve')}")
    answer = send(edge.settings.edge_port, request("GET /payslips/7 HTTP/1.1", *fields, "Connection: close"))
    assert answer.statuses == [401]
