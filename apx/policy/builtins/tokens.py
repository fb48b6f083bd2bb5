"""JSON Web Tokens: taken apart and verified, never signed. `none` is no algorithm here."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import PyJWK, PyJWTError
from jwt.algorithms import get_default_algorithms

from apx.policy.builtins.base import NUMBER, OBJECT, TEXT, BuiltinContext, BuiltinError, Host, Unanswerable, host
from apx.policy.values import parse

_ALGORITHMS = {name: algorithm for name, algorithm in get_default_algorithms().items() if name != "none"}
_HMAC = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_PARTS = 3
_NS = Decimal(1_000_000_000)
_CONSTRAINTS = frozenset({"alg", "aud", "cert", "iss", "secret", "time"})


class _Token(msgspec.Struct, frozen=True):
    signed: bytes
    header: dict[str, Any]
    payload: bytes
    signature: bytes


class _Key(msgspec.Struct, frozen=True):
    key: Any
    alg: str = ""
    kid: str = ""


@host(TEXT)
def decode(text: str) -> list[Any]:
    """Return header, payload and the signature in hex; nothing is verified."""
    token = _token(text)
    if token.header.get("cty") == "JWT":
        raise Unanswerable("io.jwt.decode of a token inside a token")
    return [token.header, _json_object(token.payload), token.signature.hex()]


def decode_verify(context: BuiltinContext, text: Any, constraints: Any) -> list[Any]:
    """Return `[true, header, payload]`, or `[false, {}, {}]` when signature, time or a constraint does not hold."""
    wanted = OBJECT(constraints)
    if wanted.keys() - _CONSTRAINTS or ("cert" in wanted) == ("secret" in wanted):
        raise BuiltinError
    now_s = Decimal(NUMBER(wanted.get("time", context.now_ns))) / _NS
    names = {name: TEXT(wanted[name]) for name in wanted.keys() - {"time"}}
    if "cert" in names:
        _keys(names["cert"])  # what is no key at all is undefined, not a signature that does not fit
    token = _token(TEXT(text))
    if str(token.header.get("cty", "")).upper() == "JWT":
        raise Unanswerable("io.jwt.decode_verify of a token inside a token")
    if not _is_signed(token, names):
        return [False, {}, {}]
    payload = _json_object(token.payload)
    return [True, token.header, payload] if _holds(payload, names, now_s) else [False, {}, {}]


def _is_signed(token: _Token, names: dict[str, str]) -> bool:
    alg = token.header.get("alg")
    if "crit" in token.header or alg not in _ALGORITHMS or names.get("alg", alg) != alg:
        return False
    if "secret" in names:
        return alg in _HMAC and _has_mac(token, names["secret"], alg)
    return alg not in _HMAC and _has_signature(token, names["cert"], alg)


def _holds(payload: dict[str, Any], names: dict[str, str], now_s: Decimal) -> bool:
    audience = payload.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if "iss" in names and payload.get("iss") != names["iss"]:
        return False
    if (audience is not None or "aud" in names) and names.get("aud", "") not in audiences:
        return False
    if "exp" in payload and now_s >= NUMBER(payload["exp"]):
        return False
    return not ("nbf" in payload and now_s < NUMBER(payload["nbf"]))


def _verifier(alg: str) -> Host:
    @host(TEXT, TEXT)
    def verify(text: str, key: str) -> bool:
        return _has_mac(_token(text), key, alg) if alg in _HMAC else _has_signature(_token(text), key, alg)

    return verify


def _has_mac(token: _Token, secret: str, alg: str) -> bool:
    return hmac.compare_digest(hmac.digest(secret.encode(), token.signed, _HMAC[alg]), token.signature)


def _has_signature(token: _Token, certificate: str, alg: str) -> bool:
    keys = _keys(certificate)
    kid = token.header.get("kid")
    named = [key for key in keys if kid and key.kid == kid][:1]
    fitting = named or [key for key in keys if not key.alg or key.alg == token.header.get("alg")]
    return any(_verifies(token, key, alg) for key in fitting)


def _verifies(token: _Token, key: _Key, alg: str) -> bool:
    try:
        return bool(_ALGORITHMS[alg].verify(token.signed, key.key, token.signature))
    except (InvalidSignature, PyJWTError, TypeError, ValueError, AttributeError):  # another kind of key
        return False


@lru_cache(maxsize=256)
def _keys(certificate: str) -> tuple[_Key, ...]:
    """Read a PEM certificate or public key, a JWK or a JWKS."""
    raw = certificate.encode()
    try:
        if b"-----BEGIN CERTIFICATE-----" in raw:
            return (_Key(load_pem_x509_certificate(raw).public_key()),)
        if b"-----BEGIN PUBLIC KEY-----" in raw:
            return (_Key(load_pem_public_key(raw)),)
        document = json.loads(certificate)
        entries = document.get("keys", [document])
        return tuple(
            _Key(PyJWK(entry).key, str(entry.get("alg", "")), str(entry.get("kid", "")))
            for entry in entries
            if entry.get("alg", "ES256") in _ALGORITHMS and entry.get("kty") != "oct"
        )
    except (ValueError, TypeError, AttributeError, PyJWTError) as error:
        raise BuiltinError(str(error)) from error


def _token(text: str) -> _Token:
    parts = text.split(".")
    if len(parts) != _PARTS:
        raise BuiltinError
    header, payload, signature = (_base64url(part) for part in parts)
    return _Token(text.rpartition(".")[0].encode(), _json_object(header), payload, signature)


def _base64url(text: str) -> bytes:
    padded = text if text.endswith("=") else text + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded.encode().translate(_URL_TO_STANDARD), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BuiltinError from error


_URL_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        return OBJECT(parse(raw.decode()))
    except (ValueError, Unanswerable) as error:
        raise BuiltinError from error


TOKENS: dict[str, Host] = {"io.jwt.decode": decode, "io.jwt.decode_verify": decode_verify} | {
    f"io.jwt.verify_{alg.lower()}": _verifier(alg)
    for alg in (
        *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "ES512", "EdDSA"),
    )
}
