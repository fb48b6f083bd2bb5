"""An issuer of tokens, and everything that is wrong with the others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from apx.catalog.model import Jwt

ISSUER, AUDIENCE = "https://issuer.test", "apx"
_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
_OTHER = rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def jwks() -> str:
    return json.dumps({"keys": [_jwk(_KEY) | {"kid": "k1", "alg": "RS256", "use": "sig"}]})


def asked() -> Jwt:
    return Jwt(issuer=ISSUER, audiences=(AUDIENCE,), jwks=jwks())


def good(**claims: Any) -> str:
    return jwt.encode(_claims(**claims), _KEY, algorithm="RS256", headers={"kid": "k1"})


def bad() -> dict[str, str]:
    """Return name → a token that must not pass."""
    now = int(time.time())
    header, payload, signature = good().split(".")
    pem = _KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = _KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    embedded = {"kid": "k2", "jwk": _jwk(_OTHER)}
    return {
        "alg none": _forged({"alg": "none"}) + ".",
        "alg None": _forged({"alg": "None", "kid": "k1"}) + ".",
        "alg nOnE with a signature": _forged({"alg": "nOnE", "kid": "k1"}) + "." + signature,
        "no alg": _forged({"kid": "k1"}) + "." + signature,
        "HS256 with the public key as PEM": _hs256(pem),
        "HS256 with the public key as DER": _hs256(der),
        "HS256 with the JWK": _hs256(json.dumps(_jwk(_KEY)).encode()),
        "HS256 with nothing": _hs256(b""),
        "another key": jwt.encode(_claims(), _OTHER, algorithm="RS256", headers={"kid": "k1"}),
        "another algorithm of the family": jwt.encode(_claims(), _KEY, algorithm="RS512", headers={"kid": "k1"}),
        "its own key inside (jwk)": jwt.encode(_claims(), _OTHER, algorithm="RS256", headers=embedded),
        "keys elsewhere (jku)": jwt.encode(
            _claims(), _OTHER, algorithm="RS256", headers={"kid": "k2", "jku": "http://127.0.0.1:9/jwks"}
        ),
        "unknown kid": jwt.encode(_claims(), _OTHER, algorithm="RS256", headers={"kid": "nobody"}),
        "kid with a path": jwt.encode(_claims(), _OTHER, algorithm="RS256", headers={"kid": "../../dev/null"}),
        "unknown crit": jwt.encode(_claims(), _KEY, algorithm="RS256", headers={"kid": "k1", "crit": ["x"], "x": 1}),
        "unencoded payload (b64)": jwt.encode(
            _claims(), _KEY, algorithm="RS256", headers={"kid": "k1", "b64": False, "crit": ["b64"]}
        ),
        "another issuer": good(iss="https://issuer.test.evil"),
        "no issuer": good(iss=None),
        "another audience": good(aud="apx2"),
        "no audience": good(aud=None),
        "expired": good(exp=now - 120),
        "never expires": good(exp=None),
        "not yet valid": good(nbf=now + 86_400),
        "changed payload": f"{header}.{_b64(json.dumps(_claims(sub='root')).encode())}.{signature}",
        "no signature": f"{header}.{payload}.",
        "cut signature": f"{header}.{payload}.{signature[:-8]}",
        "padded": f"{header}.{payload}.{signature}==",
        "two parts": f"{header}.{payload}",
        "five parts": f"{header}.{payload}.{signature}.{payload}.{signature}",
        "not a token": "good",
    }


def _claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 300} | changes
    return {name: value for name, value in claims.items() if value is not None}


def _jwk(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return found


def _forged(header: dict[str, Any]) -> str:
    return f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(_claims()).encode())}"


def _hs256(secret: bytes) -> str:
    signed = _forged({"alg": "HS256", "kid": "k1"})
    return f"{signed}.{_b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
