from __future__ import annotations

import json
from typing import Any

import pytest

from apx.errors import Unsupported
from services.edge.keys import trusted_keys
from tests.unit.edge.keys import ec_jwk, rsa_jwk


def _kids(*keys: Any) -> list[str]:
    return [key["kid"] for key in json.loads(trusted_keys(json.dumps({"keys": list(keys)})))["keys"]]


def test_strong_public_keys_are_trusted() -> None:
    assert _kids(rsa_jwk(), ec_jwk()) == ["rsa2048", "ec"]


def test_the_private_part_of_a_key_goes_no_further() -> None:
    found = json.loads(trusted_keys(json.dumps({"keys": [rsa_jwk()]})))["keys"][0]
    assert set(found) == {"kty", "kid", "n", "e"}


LEFT_OUT: dict[str, Any] = {
    "a shared secret": {"kty": "oct", "k": "c2VjcmV0", "kid": "bad"},
    "a weak RSA key": rsa_jwk(1024),
    "an algorithm of another family": rsa_jwk() | {"alg": "HS256", "kid": "bad"},
    "no algorithm": rsa_jwk() | {"alg": "none", "kid": "bad"},
    "a key for encryption": rsa_jwk() | {"use": "enc", "kid": "bad"},
    "a point off the curve": ec_jwk() | {"x": ec_jwk()["y"], "kid": "bad"},
    "an unknown curve": ec_jwk() | {"crv": "secp256k1", "kid": "bad"},
    "a broken modulus": rsa_jwk() | {"n": "!!", "kid": "bad"},
    "no modulus": {"kty": "RSA", "e": "AQAB", "kid": "bad"},
    "no object": "bad",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_one_bad_key_is_left_out_and_does_not_kill_the_set(name: str) -> None:
    assert _kids(LEFT_OUT[name], ec_jwk()) == ["ec"]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_set_of_bad_keys_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(Unsupported, match="no key that can be trusted: "):
        trusted_keys(json.dumps({"keys": [LEFT_OUT[name]]}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": 1}', '{"keys": []}', "null", '"keys"'])
def test_what_is_no_jwks_is_refused(text: str) -> None:
    with pytest.raises(Unsupported):
        trusted_keys(text)
