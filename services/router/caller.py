"""From an ASGI scope to a call of a known caller on a known route: the first half of admission, the one that waits."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

import msgspec

from apx.admission.admit import Call, LiveProduct, Refused
from apx.admission.bodies import has_one_reading
from apx.admission.identity import Identity, leaks_key, presented_key
from apx.admission.keys import KeyRecord
from apx.admission.paths import canonical_path
from apx.admission.routes import BasePaths, Match, MethodNotAllowed

_MOST_PATH_CHARACTERS = 8192
_MOST_KEPT, _MOST_KEPT_CHARACTERS = 10_000, 256
_UNAUTHENTICATED = Refused(
    status=401, code="unauthenticated", detail="A valid API key is needed: Authorization: Bearer KEY."
)


class Target(msgspec.Struct, frozen=True):
    """A route of a product, found by path and method."""

    product: LiveProduct
    match: Match
    path: str
    """Under the base path."""


class Targets:
    """What the live products serve, found by path and method; what was found before is not looked for again."""

    def __init__(self, products: Iterable[LiveProduct]) -> None:
        self._products = BasePaths((live.spec.base_path, live) for live in products)
        self._found: dict[tuple[str, str], Target] = {}

    def find(self, method: str, raw_path: str) -> Target | Refused:
        """Return what a path leads to; one canonical form or nothing."""
        known = self._found.get((method, raw_path))
        if known is not None:
            return known
        target = _find_target(self._products, method, raw_path)
        if isinstance(target, Target) and len(raw_path) <= _MOST_KEPT_CHARACTERS:
            if len(self._found) >= _MOST_KEPT:
                self._found.clear()
            self._found[method, raw_path] = target
        return target


def _find_target(products: BasePaths[LiveProduct], method: str, raw_path: str) -> Target | Refused:
    path = canonical_path(raw_path) if len(raw_path) <= _MOST_PATH_CHARACTERS else None
    if path is None:
        return Refused(status=400, code="path-invalid", detail="The path is not in its canonical form.")
    found = products.find(path)
    if found is None:
        return Refused(status=404, code="not-found", detail="No product serves this path.")
    product, rest = found
    match = product.routes.match(method, rest)
    if match is None:
        return Refused(status=404, code="not-found", detail="The product has no such route.")
    if isinstance(match, MethodNotAllowed):
        return Refused(
            status=405, code="method-not-allowed", detail="The route does not take this method.", allow=match.allowed
        )
    return Target(product, match, rest)


async def find_caller(
    identity: Identity, headers: Mapping[str, str], query: str, *, bearer_is_jwt: bool
) -> KeyRecord | Refused:
    """Return the caller's key, or one and the same refusal for every kind of bad credential. Raises `Unavailable`."""
    key = presented_key(headers, bearer_is_jwt=bearer_is_jwt)
    record = await identity.identify(key) if key and not leaks_key(query) else None
    return record or _UNAUTHENTICATED


def brings_token(headers: Mapping[str, str]) -> bool:
    """Tell whether a bearer token stands beside the key, as clients of products with tokens send both everywhere.

    A key has no dot, a JWT has two.
    """
    return "x-api-key" in headers and "." in headers.get("authorization", "")


def call_of(target: Target, method: str, query: str, headers: Mapping[str, str], body: bytes) -> Call | Refused:
    """Return what admission judges."""
    claims = None
    if target.product.spec.auth.jwt is not None:
        claims = _claims(headers.get("x-apx-jwt-payload", ""))
        if claims is None:
            return _UNAUTHENTICATED
    return Call(
        method=method,
        path=target.path,
        query=query,
        headers=headers,
        client_ip=headers.get("x-envoy-external-address", ""),
        claims=claims,
        body=body,
    )


def _claims(payload: str) -> bytes | None:
    """Return the claims that the edge verified and handed on as base64url JSON."""
    try:
        claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except (binascii.Error, ValueError):
        return None
    return claims if claims.lstrip().startswith(b"{") and has_one_reading(claims) else None
