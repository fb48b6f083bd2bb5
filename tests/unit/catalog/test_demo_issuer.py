from __future__ import annotations

import subprocess
import sys
import time

import jwt
import pytest

from apx.catalog.load import load_catalog
from apx.catalog.model import Jwt
from examples.demo_issuer.tokens import sign_token
from tests.unit.catalog.conftest import EXAMPLE


@pytest.fixture
def asked_for() -> Jwt:
    found = load_catalog(EXAMPLE).products["staff-payslips"].spec.auth.jwt
    assert found is not None
    return found


def verified(token: str, asked_for: Jwt) -> dict[str, object]:
    keys = jwt.PyJWKSet.from_json(asked_for.jwks or "")
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return dict(jwt.decode(token, key, audience=asked_for.audiences, issuer=asked_for.issuer))


def test_a_token_of_the_demo_issuer_is_one_that_the_example_takes(asked_for: Jwt) -> None:
    claims = verified(sign_token("e-17", org="acme", now=time.time(), roles=["payroll"]), asked_for)
    assert (claims["sub"], claims["org"], claims["roles"]) == ("e-17", "acme", ["payroll"])


def test_a_token_that_has_run_out_is_not_taken(asked_for: Jwt) -> None:
    with pytest.raises(jwt.ExpiredSignatureError):
        verified(sign_token("e-17", org="acme", now=time.time() - 7200), asked_for)


def test_a_token_for_somebody_else_is_not_taken(asked_for: Jwt) -> None:
    with pytest.raises(jwt.InvalidAudienceError):
        verified(sign_token("e-17", org="acme", now=time.time(), audience="elsewhere"), asked_for)


def test_the_demo_issuer_prints_a_token(asked_for: Jwt) -> None:
    command = [sys.executable, "-m", "examples.demo_issuer", "e-17", "--org", "acme"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, cwd=EXAMPLE.parent).stdout
    assert verified(printed.strip(), asked_for)["sub"] == "e-17"


def test_no_private_key_stands_in_the_tree() -> None:
    assert not [file for file in EXAMPLE.rglob("*") if file.is_file() and b"PRIVATE KEY" in file.read_bytes()]
