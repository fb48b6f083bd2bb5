"""Which keys of a product's JWKS the edge trusts: public, asymmetric, strong enough, and only those.

Envoy refuses a whole configuration for one set that it cannot read, and takes a shared secret for a key; so each key
is judged here by itself, and what is left is written anew.
"""

from __future__ import annotations

from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from apx.errors import Unsupported

_LEAST_RSA_BITS = 2048
_ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
_CURVES = ("P-256", "P-384", "P-521", "Ed25519")
_PUBLIC = ("kty", "kid", "alg", "use", "n", "e", "crv", "x", "y")


def trusted_keys(jwks: str) -> str:
    """Return the JWKS (RFC 7517) with what can be trusted of it. Raises `Unsupported` when nothing can."""
    try:
        found = msgspec.json.decode(jwks)["keys"]
        keys = [_public(key) for key in found if _why_not(key) is None]
        reasons = [why for key in found if (why := _why_not(key)) is not None]
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise Unsupported(f"auth.jwt.jwks is no JWKS: {error}") from error
    if not keys:
        raise Unsupported(f"auth.jwt.jwks has no key that can be trusted: {'; '.join(reasons) or 'it is empty'}")
    return msgspec.json.encode({"keys": keys}, order="sorted").decode()


def _why_not(key: Any) -> str | None:
    """Return why a key is left out, or None."""
    if not isinstance(key, dict):
        return "a key is no object"
    name = f"key {key.get('kid')!r}"
    allowed = _ALGORITHMS.get(key.get("kty", ""))
    if allowed is None:
        return f"{name}: kty {key.get('kty')!r} is not one of {', '.join(_ALGORITHMS)}"
    if key.get("alg", allowed[0]) not in allowed:
        return f"{name}: alg {key['alg']!r} does not go with kty {key['kty']}"
    if key.get("use", "sig") != "sig":
        return f"{name}: it is not for signatures"
    if key.get("crv", _CURVES[0]) not in _CURVES:
        return f"{name}: crv {key['crv']!r} is not one of {', '.join(_CURVES)}"
    return _why_weak(name, key, allowed[0])


def _why_weak(name: str, key: dict[str, Any], algorithm: str) -> str | None:
    try:
        material = jwt.PyJWK(_public(key), algorithm=key.get("alg") or _BY_CURVE.get(key.get("crv", ""), algorithm)).key
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        return f"{name}: {error}"
    if isinstance(material, RSAPublicKey) and material.key_size < _LEAST_RSA_BITS:
        return f"{name}: {material.key_size} bits are fewer than {_LEAST_RSA_BITS}"
    return None


_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


def _public(key: dict[str, Any]) -> dict[str, Any]:
    return {name: key[name] for name in _PUBLIC if name in key}
