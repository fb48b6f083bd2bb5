from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.policy.masking import LONGEST_TEXT, is_secret, mask_input

KEY = "apx_live_0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"


def document(**changes: Any) -> dict[str, Any]:
    request = {
        "method": "POST",
        "route": "/",
        "path": "/",
        "params": {},
        "query": {},
        "headers": {},
        "client_ip": "198.51.100.7",
    }
    return {
        "org": "acme",
        "region": "us",
        "product": "orders",
        "plan": "free",
        "key": {"id": "key_0123456789abcdef0123"},
        "request": request | changes.pop("request", {}),
        **changes,
    }


def masked(**changes: Any) -> Any:
    return json.loads(mask_input(json.dumps(document(**changes)).encode()))


@pytest.mark.parametrize(
    ("body", "secret"),
    [
        ({"password": "hunter2"}, "hunter2"),
        ({"accessToken": "hunter2"}, "hunter2"),
        ({"accesstoken": "hunter2"}, "hunter2"),
        ({"credentials": {"name": "hunter", "more": ["hunter2"]}}, "hunter"),
        ({"session_id": "hunter2"}, "hunter2"),
        ({"pin": 4711}, "4711"),
        ({"ssn": "078-05-1120"}, "078-05"),
        ({"card": {"number": 4111111111111111}}, "4111"),
        ({"n": 4111111111111111}, "4111"),
        ({"text": "pay with 4111 1111 1111 1111 please"}, "1111"),
        ({"text": f"use {KEY} now"}, "0aB1cD2e"),
        ({"text": f"Bearer {JWT}"}, "eyJzdWIi"),
        ({"text": "write to alice.smith@acme.example"}, "alice"),
        ({"text": "write to Jürgen.Müller@acme.example"}, "ller@"),
        ({"text": "0b5c9f6e-5d5c-4f4e-9c69-d0f6a27a1234"}, "0b5c9f6e"),
        ({"text": "c2VjcmV0IGNhbmFyeSBzZWNyZXQ/Y2FuYXJ5+c2VjcmV0="}, "c2Vjcm"),
        ({"alice@acme.example": 1}, "alice"),
        ({"text": "canary " * 50}, "canary"),
        ({"ips": ["2001:db8:1:2:3:4:5:6", "203.0.113.77, 203.0.113.78"]}, "113.7"),
        ({"ips": ["2001:db8:1:2:3:4:5:6"]}, "5:6"),
    ],
)
def test_a_body_keeps_no_secret(body: Any, secret: str) -> None:
    assert secret in json.dumps(document(body=body), ensure_ascii=False)
    assert secret not in json.dumps(masked(body=body), ensure_ascii=False)


def test_what_policies_decide_on_stays() -> None:
    body = {"amount_usd": 40.5, "item": "lamp", "when": "2024-01-01T12:30:00Z", "max_tokens": 400, "live": True}
    found = masked(body=body, request={"query": {"page": ["2"]}})
    assert found == document(body=body, request={"query": {"page": ["2"]}, "client_ip": "198.51.100.0"})


def test_the_values_of_a_path_are_masked_and_its_route_is_still_found() -> None:
    found = masked(
        request={
            "route": "/getInternalAccountDetails2/{mail}/{token}",
            "path": "/getInternalAccountDetails2/alice%40acme.example/hunter2",
            "params": {"mail": "alice@acme.example", "token": "hunter2"},
        }
    )["request"]
    assert found["path"] == "/getInternalAccountDetails2/***1%40acme.example/***"
    assert found["params"] == {"mail": "***1@acme.example", "token": "***"}


def test_values_that_are_equal_stay_equal_in_one_input() -> None:
    subject = "0b5c9f6e-5d5c-4f4e-9c69-d0f6a27a1234"
    found = masked(claims={"sub": subject, "org": "acme"}, request={"params": {"employee_id": subject, "other": "x"}})
    assert found["claims"]["sub"] == found["request"]["params"]["employee_id"] == "***1"


def test_a_long_text_keeps_its_length() -> None:
    assert masked(body={"text": "word " * 100})["body"]["text"] == "*" * 500


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("198.51.100.7", "198.51.100.0"),
        ("2001:db8:1:2::3", "2001:db8:1::"),
        ("::ffff:198.51.100.7", "::ffff:c633:6400"),
        ("", ""),
    ],
)
def test_an_address_keeps_its_network(address: str, kept: str) -> None:
    assert masked(request={"client_ip": address})["request"]["client_ip"] == kept


@pytest.mark.parametrize("name", ["max_tokens_count", "token_type", "monkey", "path", "amount", "body", "accession"])
def test_a_name_that_holds_no_secret_is_left(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize("content", [b"", b"[]", b'"x"', b"{", b'{"a":NaN', b"\xff", b'{"a":' * 5000])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        mask_input(content)


def test_deep_nesting_is_cut() -> None:
    deep: Any = "canary"
    for _ in range(300):
        deep = [deep]
    assert "canary" not in json.dumps(masked(body=deep))


PIECES = st.sampled_from(
    [
        *(
            KEY,
            JWT,
            "Bearer ",
            "basic",
            "token=",
            "alice",
            "@",
            "%40",
            "acme.example",
            "***",
            "***1",
            "/",
            "+",
            " ",
            "=",
        ),
        *("4111 1111 1111 1111", "198.51.100.7", "::1", ",", "0b5c9f6e-5d5c-4f4e-9c69-d0f6a27a1234", "é", "\n", "%20"),
    ]
)
TEXTS = st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=LONGEST_TEXT + 20)
NAMES = st.sampled_from(["password", "text", "tokens", "card", "n", "a@b.c"]) | st.text(max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, TEXTS, TEXTS)
def test_masking_again_changes_nothing(body: Any, path: str, address: str) -> None:
    request = {"route": "/a/{token}/{rest=**}", "path": f"/a/b/{path}", "params": {"id": path}, "client_ip": address}
    once = mask_input(json.dumps(document(body=body, request=request)).encode())
    assert mask_input(once) == once


@given(VALUES, TEXTS, TEXTS)
def test_no_canary_is_left_wherever_it_stands(body: Any, before: str, after: str) -> None:
    text = f"{before} {KEY} {after} canary.name@mail.example {JWT} {before}"
    document_with = document(
        body={"b": body, "t": [text], text: 1}, claims={"c": text}, request={"path": f"/{text}", "query": {"q": [text]}}
    )
    found = mask_input(json.dumps(document_with).encode()).decode()
    for canary in ("0aB1cD2eF3gH4iJ5", "canary.name", "eyJzdWIiOiJjYW5hcnkifQ"):
        assert canary not in found.replace(json.dumps(body), "")
