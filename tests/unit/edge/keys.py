"""Keys for tests, made once."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa


@cache
def rsa_jwk(bits: int = 2048) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=bits)
    found: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key))
    return found | {"kid": f"rsa{bits}"}


@cache
def ec_jwk() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1())))
    return found | {"kid": "ec"}


def rsa_jwks() -> str:
    return json.dumps({"keys": [rsa_jwk()]})
