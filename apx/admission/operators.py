"""Who operates: names and roles in signed tokens for the control API.

A token is a JSON Web Token (RFC 7519) under HMAC-SHA256, made and read by this installation alone. Identity-aware
proxies bring tokens of their own: another reader behind the same `Operator`.

It says one of three things: a role over the whole platform (`role`), a role in one org (`orgs`), or who somebody is,
and then the orgs' lists of members say what they may (`member`). Each is a claim of its own, so that a process of an
older version, which knows the first alone, refuses the others instead of reading more into them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Literal, TypeGuard, get_args

import jwt
import msgspec

from apx.clock import Clock
from apx.errors import NotFound, Unsupported

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
    """Somebody who operates: the whole platform, or single orgs."""

    subject: str
    role: Role | None = None
    """Over the whole platform; None: over none of it."""
    orgs: Mapping[str, Role] = {}
    """In single orgs."""
    member: bool = False
    """Whether the orgs' lists of members say what `orgs` is to hold; what brings its roles along has these alone."""

    def may(self, role: Role, org: str | None = None) -> bool:
        """Tell whether this one may do what asks for `role`, of an org or else of the platform."""
        held = (self.role, self.orgs.get(org) if org is not None else None)
        return any(ROLES.index(one) >= ROLES.index(role) for one in held if one is not None)

    def sees(self, org: str | None) -> bool:
        """Tell whether this one may know what there is of an org; of none, whether of all there is."""
        return self.may("viewer", org)

    def asks(self, org: str | None) -> list[str | None]:
        """Return the orgs to look through when this one asks for an org's things, or for all; None is every org.

        Raises `NotFound` for an org that is not this one's, whether there is such an org or not.
        """
        if self.role is not None:
            return [org]
        if org is not None and org not in self.orgs:
            raise NotFound(NotFound.public)
        return [one for one in sorted(self.orgs) if org in (None, one)]


class Operators:
    """Mints and reads tokens under one secret."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._key = hmac.digest(secret, b"apx-control-tokens/v1", hashlib.sha256)
        self._clock = clock

    def mint(
        self, subject: str, role: Role | None, *, org: str = "", hours: float, random: Callable[[int], bytes]
    ) -> str:
        """Return a token for `hours`: of a role over the platform or in an org; without a role, of a member.

        Raises `Unsupported` for a name or a time that no token can have, and for an org without a role.
        """
        if not SUBJECT.fullmatch(subject):
            raise Unsupported(f"{subject[:80]!r} is no subject: 1 to 64 letters, digits, '@', '.', '_' or '-'")
        if not 0 < hours <= MOST_HOURS:
            raise Unsupported(f"{hours:g} hours: a token lives up to {MOST_HOURS}")
        now_s = int(self._clock.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            **_granted(role, org),
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
        subject, expires_s = claims["sub"], claims["exp"]
        if not isinstance(expires_s, int) or expires_s <= self._clock.time() or not SUBJECT.fullmatch(subject):
            return None
        return _operator(subject, claims)


def is_role(text: object) -> TypeGuard[Role]:
    """Tell whether something is a role."""
    return isinstance(text, str) and text in ROLES


def role_named(text: str) -> Role:
    """Return the role of a name. Raises `Unsupported`."""
    if is_role(text):
        return text
    raise Unsupported(f"{text[:40]!r} is no role: there are {', '.join(ROLES)}")


def _granted(role: Role | None, org: str) -> dict[str, object]:
    """Return the one claim that says what a token is good for."""
    if role is None:
        if org:
            raise Unsupported(f"a token of the org {org} says its role there: one of {', '.join(ROLES)}")
        return {"member": True}
    return {"orgs": {org: role}} if org else {"role": role}


def _operator(subject: str, claims: Mapping[str, object]) -> Operator | None:
    said = [name for name in ("role", "orgs", "member") if name in claims]
    role, orgs = claims.get("role"), claims.get("orgs")
    if said == ["role"] and is_role(role):
        return Operator(subject, role)
    if said == ["orgs"] and isinstance(orgs, dict) and orgs and all(map(is_role, orgs.values())):
        return Operator(subject, None, orgs)
    return Operator(subject, None, member=True) if said == ["member"] and claims["member"] is True else None
