"""Who operates, as Google's identity-aware proxy says: a signed assertion beside each request that it lets through.

A JSON Web Token under ES256 (https://cloud.google.com/iap/docs/signed-headers-howto). The proxy says who somebody is;
what they may do here is said by lists of addresses, and by the orgs that they are members of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jwt
import msgspec

from apx.admission.operators import SUBJECT, Operator, Role
from apx.clock import Clock

HEADER = "x-goog-iap-jwt-assertion"
ISSUER = "https://cloud.google.com/iap"
LEEWAY_S = 30
FETCH_AGAIN_S = 30.0
"""Shortest time between two fetches: assertions that name unknown keys must not make us ask for each."""
FRESH_S = 3600.0
_LONGEST = 4_000
_ALGORITHM = "ES256"
_CLAIMS = ("iss", "aud", "email", "exp", "iat")

EVERYBODY = "*"

Keys = Mapping[str, Any]
"""Public keys by their ids (`kid`)."""


class Roles(msgspec.Struct, frozen=True):
    """Who has a role over the whole platform, by address in lower case."""

    admins: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    viewers: frozenset[str] = frozenset()
    """`EVERYBODY` among them: whomever the proxy lets through. Not where it lets members of orgs through too."""

    def of(self, email: str) -> Role | None:
        """Return the role of somebody whom the proxy let through; whom no list names has none."""
        if email in self.admins:
            return "admin"
        if email in self.operators:
            return "operator"
        return "viewer" if not self.viewers.isdisjoint((email, EVERYBODY)) else None


class KeyCache:
    """The proxy's public keys: fetched when one is unknown or they are old, and kept while they cannot be fetched."""

    def __init__(self, fetch: Callable[[], Keys | None], clock: Clock) -> None:
        """`fetch` returns the keys, or None when they cannot be had; it blocks for some seconds at most."""
        self._fetch = fetch
        self._clock = clock
        self._keys: Keys = {}
        self._fetched = self._tried = float("-inf")

    def get(self, key_id: str) -> Any | None:
        """Return a key; None for one that is not the proxy's."""
        now = self._clock.monotonic()
        wanted = key_id not in self._keys or now - self._fetched > FRESH_S
        if wanted and now - self._tried >= FETCH_AGAIN_S:
            self._tried = now
            if (keys := self._fetch()) is not None:
                self._keys, self._fetched = keys, now
        return self._keys.get(key_id)


class Assertions:
    """Reads the proxy's assertions for one audience."""

    def __init__(self, audience: str, roles: Roles, keys: KeyCache, clock: Clock) -> None:
        """Take those for `audience`, `/projects/NUMBER/global/backendServices/ID`.

        With `*` at its end, those for every backend service of that project: its id is known only after the processes
        behind it are there.
        """
        self._audience = audience
        self._roles = roles
        self._keys = keys
        self._clock = clock

    def read(self, assertion: str) -> Operator | None:
        """Return whom an assertion is about; None for every other text."""
        if len(assertion) > _LONGEST or not assertion.isascii():
            return None
        try:
            key = self._keys.get(str(jwt.get_unverified_header(assertion).get("kid")))
            if key is None:
                return None
            claims = jwt.decode(
                assertion,
                key,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                # The clock is passed in, and an audience may end in `*`: both are looked at below.
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False, "verify_aud": False},
            )
        except jwt.InvalidTokenError:
            return None
        email = claims["email"]
        if not (self._for_us(claims["aud"]) and self._now(claims) and isinstance(email, str)):
            return None
        email = email.lower()
        return Operator(email, self._roles.of(email), member=True) if SUBJECT.fullmatch(email) else None

    def _for_us(self, audience: object) -> bool:
        if not isinstance(audience, str) or not self._audience:
            return False
        if self._audience.endswith("/*"):
            prefix = self._audience.removesuffix("*")
            return audience.startswith(prefix) and audience.removeprefix(prefix).isdigit()
        return audience == self._audience

    def _now(self, claims: Mapping[str, Any]) -> bool:
        issued, expires, now = claims["iat"], claims["exp"], self._clock.time()
        if not all(type(moment) is int for moment in (issued, expires)):
            return False
        return bool(issued - LEEWAY_S <= now < expires + LEEWAY_S)
