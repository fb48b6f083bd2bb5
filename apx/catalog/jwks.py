"""Key sets (RFC 7517) that stand in a product's folder: public keys that can verify, and nothing that can sign."""

from __future__ import annotations

from typing import Any

import msgspec
from jwt import PyJWK
from jwt.exceptions import PyJWTError

_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_MOST_KEYS = 50
_FEWEST_RSA_BITS = 2048
_ALGORITHMS = {
    "RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
    "EC": {"ES256", "ES384", "ES512"},
    "OKP": {"EdDSA"},
}


class JwksRefused(ValueError):
    """A key set that APX does not take; `code` is the mistake's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_jwks(raw: bytes) -> str:
    """Return a key set as JSON with one reading, whatever the file repeats. Raises `JwksRefused`.

    No message shows key material.
    """
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JwksRefused("jwks-malformed", "the file is not JSON in UTF-8: write a JWK set") from error
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or not keys:
        raise JwksRefused("jwks-malformed", 'the file has no keys: write {"keys": [...]} with at least one')
    if len(keys) > _MOST_KEYS:
        raise JwksRefused("jwks-malformed", f"the file has {len(keys)} keys: keep at most {_MOST_KEYS}")
    for at, key in enumerate(keys):
        _check_key(f"keys[{at}]", key)
    _check_ids(keys)
    return msgspec.json.encode(content).decode()


def _check_key(where: str, key: Any) -> None:
    if not isinstance(key, dict):
        raise JwksRefused("jwks-malformed", f"{where} is not a mapping: write a JWK")
    kind = key.get("kty")
    if kind == "oct" or not _SECRET_MEMBERS.isdisjoint(key):
        message = (
            f"{where} can sign: a secret stands in a file that the whole team reads; revoke it, keep only public keys"
        )
        raise JwksRefused("jwks-secret", message)
    if not isinstance(kind, str) or kind not in _ALGORITHMS:
        raise JwksRefused("jwks-malformed", f"{where} has no kty that is known: write one of {', '.join(_ALGORITHMS)}")
    if key.get("alg") not in _ALGORITHMS[kind]:
        choices = ", ".join(sorted(_ALGORITHMS[kind]))
        raise JwksRefused("jwks-malformed", f"{where} does not say which alg it is for: write one of {choices}")
    _check_material(where, key)


def _check_material(where: str, key: dict[str, Any]) -> None:
    try:
        material = PyJWK.from_dict(key).key
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise JwksRefused("jwks-malformed", f"{where} is not a key: export it again") from error
    if key["kty"] == "RSA" and material.key_size < _FEWEST_RSA_BITS:
        raise JwksRefused(
            "jwks-weak", f"{where} has {material.key_size} bits: make one with at least {_FEWEST_RSA_BITS}"
        )


def _check_ids(keys: list[dict[str, Any]]) -> None:
    ids = [key.get("kid") for key in keys]
    if not all(isinstance(name, str) and name for name in ids):
        raise JwksRefused("jwks-malformed", "a key has no kid: give each one")
    if len(set(ids)) != len(ids):
        raise JwksRefused("jwks-malformed", "two keys have the same kid: give each its own")
