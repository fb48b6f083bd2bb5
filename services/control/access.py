"""Who may do what over the control API: one place that reads tokens, one that asks for roles.

The admin token that `./dev up` prints is role `admin`; others are minted by `apx token issue`. Behind Google's
identity-aware proxy its assertion says who calls, and no token beside it counts.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request

from apx.admission.assertions import HEADER
from apx.admission.operators import Operator, Operators, Role
from apx.audit.record import By
from apx.errors import Permanent
from apx.telemetry import logs

Reads = Callable[[str], Operator | None]
"""Returns whom a bearer token is for, or an assertion about."""
_WHO = "A valid token is needed: Authorization: Bearer TOKEN (`apx token issue` makes one)."


class RoleTooLow(Permanent):
    """The token is good, and not for this."""

    code = "role-too-low"
    status = 403


class Access:
    """Reads tokens, asks for roles."""

    def __init__(self, operators: Operators, admin_token: str, assertions: Reads | None = None) -> None:
        """Without `assertions` the proxy's header says nothing: anybody could have written it."""
        self._assertions = assertions
        self._readers: tuple[Reads, ...] = (_admin(admin_token), operators.read)

    def needs(self, role: Role) -> Callable[..., Operator]:
        """Return a dependency that gives the caller, or answers 401 or 403. What takes more than looking is logged."""

        def check(
            request: Request,
            authorization: Annotated[str, Header()] = "",
            assertion: Annotated[str | None, Header(alias=HEADER, include_in_schema=False)] = None,
        ) -> Operator:
            caller = self._caller(authorization, assertion)
            if caller is None:
                _tell(request, None, 401)
                raise HTTPException(401, _WHO, {"www-authenticate": 'Bearer realm="apx control"'})
            if not caller.may(role):
                _tell(request, caller, 403)
                raise RoleTooLow(f"{caller.subject} is {caller.role}; this takes the role {role}")
            if role != "viewer":
                _tell(request, caller, 0)
            return caller

        return check

    def source(self, request: Request) -> str:
        """Return the address that a call came from.

        What the load balancer in front of the proxy wrote is believed where the proxy's assertion is: it appends the
        caller's address and its own to `x-forwarded-for`. Anybody else could have written that field.
        """
        hops = [hop.strip() for hop in request.headers.get("x-forwarded-for", "").split(",")]
        if self._assertions is not None and HEADER in request.headers and len(hops) > 1:
            return hops[-2]
        return request.client.host if request.client is not None else ""

    def who(self, role: Role) -> Callable[..., By]:
        """Return a dependency that asks for a role, and gives whom the audit log names."""
        needed = depends(self, role)

        def acting(request: Request, caller: Operator = needed) -> By:
            return By(actor=caller.subject, source=self.source(request))

        return acting

    def _caller(self, authorization: str, assertion: str | None) -> Operator | None:
        if self._assertions is not None and assertion is not None:
            return self._assertions(assertion)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = [caller for read in self._readers if (caller := read(token.strip())) is not None]
        return found[0] if found else None


def depends(access: Access, role: Role) -> Operator:
    """Return the parameter default that asks for a role."""
    caller: Operator = Depends(access.needs(role))
    return caller


def _admin(admin_token: str) -> Reads:
    def read(token: str) -> Operator | None:
        same = hmac.compare_digest(token.encode(), admin_token.encode())
        return Operator("admin", "admin") if same else None

    return read


def _tell(request: Request, caller: Operator | None, refused: int) -> None:
    """Write who called, for what, and whether they were refused; the path by its template, which holds no value."""
    route = request.scope.get("route")
    logs.canonical(
        "control-call",
        subject=caller.subject if caller else "",
        role=caller.role if caller else "",
        method=request.method,
        path=getattr(route, "path", ""),
        refused=refused,
    )
