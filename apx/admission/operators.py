"""Who operates: names and roles in signed tokens for the control API.

A token is a JSON Web Token (RFC 7519) under HMAC-SHA256, made and read by this installation alone. Identity-aware
proxies bring tokens of their own: another reader behind the same `Operator`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Literal, get_args

import jwt
import msgspec

from apx.clock import Clock
from apx.errors import Unsupported

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""From the least to the most; each may do what those before it may."""
SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,63}")
ISSUER, AUDIENCE = "apx", "apx-control"
MOST_HOURS = 24 * 366
_LONGEST = 2_000
_ALGORITHM = "HS256"
_CLAIMS = ("iss", "aud", "sub", "exp", "iat", "jti")


class Operator(msgspec.Struct, frozen=True):
    """Somebody who operates."""

    subject: str
    role: Role

    def may(self, role: Role) -> bool:
        """Tell whether this one may do what asks for `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Operators:
    """Mints and reads tokens under one secret."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._key = hmac.digest(secret, b"apx-control-tokens/v1", hashlib.sha256)
        self._clock = clock

    def mint(self, subject: str, role: Role, *, hours: float, random: Callable[[int], bytes]) -> str:
        """Return a token for `hours`. Raises `Unsupported` for a name or a time that no token can have."""
        if not SUBJECT.fullmatch(subject):
            raise Unsupported(f"{subject[:80]!r} is no subject: 1 to 64 letters, digits, '@', '.', '_' or '-'")
        if not 0 < hours <= MOST_HOURS:
            raise Unsupported(f"{hours:g} hours: a token lives up to {MOST_HOURS}")
        now_s = int(self._clock.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "role": role,
            "iat": now_s,
            "exp": now_s + int(hours * 3600),
            "jti": random(8).hex(),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def read(self, token: str) -> Operator | None:
        """Return who a token is for; None for every other text."""
        if len(token) > _LONGEST or not token.isascii():
            return None
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                # The clock is passed in, so that the expiry is looked at here.
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False, "strict_aud": True},
            )
        except jwt.InvalidTokenError:
            return None
        subject, role, expires_s = claims["sub"], claims.get("role"), claims["exp"]
        if not isinstance(expires_s, int) or expires_s <= self._clock.time():
            return None
        return Operator(subject, role) if role in ROLES and SUBJECT.fullmatch(subject) else None
