"""From an ASGI scope to a call of a known caller on a known route: the first half of admission, the one that waits."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Iterable, Mapping
from typing import TypeVar

import msgspec

from apx.admission.admit import Call, LiveProduct, Refused
from apx.admission.bodies import has_one_reading
from apx.admission.identity import Identity, leaks_key, presented_key
from apx.admission.keys import KeyRecord
from apx.admission.paths import canonical_path
from apx.admission.routes import BasePaths, Match, MethodNotAllowed
from apx.admission.standing import Standing
from apx.admission.terms import is_within, may_come_from
from apx.rollout.arms import Arms
from apx.rollout.model import Arm
from services.router.asgi import KeyEnded, racing

T = TypeVar("T")
_MOST_PATH_CHARACTERS = 8192
_MOST_KEPT, _MOST_KEPT_CHARACTERS = 10_000, 256
UNAUTHENTICATED = Refused(
    status=401, code="unauthenticated", detail="A valid API key is needed: Authorization: Bearer KEY."
)
_ELSEWHERE = Refused(status=403, code="address-not-allowed", detail="This key may not be used from this address.")

SUSPENDED = Refused(status=403, code="org-suspended", detail="This org is suspended. Ask who operates this API.")


class Target(msgspec.Struct, frozen=True):
    """A route of the release that serves a caller."""

    product: LiveProduct
    match: Match
    path: str
    """Under the base path."""

    @property
    def longest_body(self) -> int:
        """Return how many bytes of a body are read."""
        return self.match.route.max_body_bytes


class Fork(msgspec.Struct, frozen=True):
    """A path of a product that two releases serve: which one it is depends on the caller's org."""

    arms: Arms[LiveProduct]
    path: str
    found: dict[Arm, Match | Refused]
    """What the path is to each of the two."""

    @property
    def product(self) -> LiveProduct:
        """Return the stable release; mode and auth are the candidate's too."""
        return self.arms.stable

    @property
    def longest_body(self) -> int:
        """Return how many bytes of a body are read: what the one refuses is put to the other."""
        return max(match.route.max_body_bytes for match in self.found.values() if not isinstance(match, Refused))

    def target(self, arm: Arm) -> Target | Refused:
        """Return the route that the path is under one of them."""
        match = self.found[arm]
        return match if isinstance(match, Refused) else Target(self.arms.serving(arm), match, self.path)


class Arrival(msgspec.Struct, frozen=True):
    """A known caller on a path, and who serves the two."""

    caller: KeyRecord
    target: Target | Refused
    path: str
    """Under the base path."""
    fork: Fork | None = None
    """There while two releases serve the product."""
    arm: Arm = "stable"
    tester: bool = False
    """The caller chose the arm; that is not counted."""


class Targets:
    """What the live products serve, found by path and method; what was found before is not looked for again."""

    def __init__(self, serving: Iterable[Arms[LiveProduct]]) -> None:
        self._products = BasePaths((arms.stable.spec.base_path, arms) for arms in serving)
        self._found: dict[tuple[str, str], Target | Fork] = {}

    def find(self, method: str, raw_path: str) -> Target | Fork | Refused:
        """Return what a path leads to; one canonical form or nothing."""
        known = self._found.get((method, raw_path))
        if known is not None:
            return known
        target = _find_target(self._products, method, raw_path)
        if not isinstance(target, Refused) and len(raw_path) <= _MOST_KEPT_CHARACTERS:
            if len(self._found) >= _MOST_KEPT:
                self._found.clear()
            self._found[method, raw_path] = target
        return target


def _find_target(products: BasePaths[Arms[LiveProduct]], method: str, raw_path: str) -> Target | Fork | Refused:
    path = canonical_path(raw_path) if len(raw_path) <= _MOST_PATH_CHARACTERS else None
    if path is None:
        return Refused(status=400, code="path-invalid", detail="The path is not in its canonical form.")
    found = products.find(path)
    if found is None:
        return Refused(status=404, code="not-found", detail="No product serves this path.")
    arms, rest = found
    match = _match(arms.stable, method, rest)
    if arms.candidate is None:
        return match if isinstance(match, Refused) else Target(arms.stable, match, rest)
    other = _match(arms.candidate, method, rest)
    if isinstance(match, Refused) and isinstance(other, Refused):
        return match
    return Fork(arms, rest, {"stable": match, "candidate": other})


def _match(product: LiveProduct, method: str, path: str) -> Match | Refused:
    match = product.routes.match(method, path)
    if match is None:
        return Refused(status=404, code="not-found", detail="The product has no such route.")
    if isinstance(match, MethodNotAllowed):
        return Refused(
            status=405, code="method-not-allowed", detail="The route does not take this method.", allow=match.allowed
        )
    return match


async def find_caller(
    identity: Identity, headers: Mapping[str, str], query: str, *, bearer_is_jwt: bool
) -> KeyRecord | Refused:
    """Return the caller's key, or one and the same refusal for every kind of bad credential. Raises `Unavailable`."""
    key = presented_key(headers, bearer_is_jwt=bearer_is_jwt)
    record = await identity.identify(key) if key and key not in query and not leaks_key(query) else None
    return record or UNAUTHENTICATED


def refused_here(caller: KeyRecord, headers: Mapping[str, str], standing: Standing) -> Refused | None:
    """Return the refusal of a key that it or its org lets nobody use from here, or whose org is suspended.

    Raises `Unavailable`.
    """
    allowed = standing.terms(caller.org).allowlist
    if not may_come_from(caller, _client_ip(headers)) or (allowed and not is_within(allowed, _client_ip(headers))):
        return _ELSEWHERE
    return SUSPENDED if standing.suspended(caller.org) else None


async def while_valid(identity: Identity, caller: KeyRecord, awaited: Awaitable[T]) -> T:
    """Return what is awaited. Raises `KeyEnded`, and stops waiting, when the caller's key ends first."""
    async with racing(awaited, identity.until_ended(caller)) as (waiting, ended):
        if waiting.done():
            result: T = waiting.result()
            return result
        ended.result()
        raise KeyEnded


def brings_token(headers: Mapping[str, str]) -> bool:
    """Tell whether a bearer token stands beside the key, as clients of products with tokens send both everywhere.

    A key has no dot, a JWT has two.
    """
    return "x-api-key" in headers and "." in headers.get("authorization", "")


def call_of(
    arrival: Arrival, product: LiveProduct, *, method: str, query: str, headers: Mapping[str, str], body: bytes
) -> Call | Refused:
    """Return what admission judges."""
    claims = None
    if product.spec.auth.jwt is not None:
        claims = _claims(headers.get("x-apx-jwt-payload", ""))
        if claims is None:
            return UNAUTHENTICATED
    return Call(
        method=method,
        path=arrival.path,
        query=query,
        headers=headers,
        client_ip=_client_ip(headers),
        claims=claims,
        body=body,
    )


def _client_ip(headers: Mapping[str, str]) -> str:
    """Return the client's address as the edge saw it; it takes no client's word for it."""
    return headers.get("x-envoy-external-address", "")


def _claims(payload: str) -> bytes | None:
    """Return the claims that the edge verified and handed on as base64url JSON."""
    try:
        claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except (binascii.Error, ValueError):
        return None
    return claims if claims.lstrip().startswith(b"{") and has_one_reading(claims) else None
