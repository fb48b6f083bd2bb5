"""Who may do what over the control API: one place that reads tokens, one that asks for roles.

The admin token that `./dev up` prints is role `admin`; others are minted by `apx token issue`. Behind Google's
identity-aware proxy its assertion says who calls, and no token beside it counts.

A call is about the platform or about one org's things. An endpoint of the second kind names the org by a dependency
(`of`), or filters what it lists by `Operator.asks`. What is not of a caller's orgs is answered like what is nowhere:
in the same words, after the same looks.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, HTTPException, Request

from apx.admission.assertions import HEADER
from apx.admission.members import MemberStore
from apx.admission.operators import Operator, Operators, Role
from apx.audit.record import By
from apx.errors import NotFound, Permanent
from apx.telemetry import logs
from services.control.pace import Pace

Reads = Callable[[str], Operator | None]
"""Returns whom a bearer token is for, or an assertion about."""
OrgOf = Callable[..., Awaitable[str | None]]
"""A dependency that gives the org that a call is about; None for a thing that is not there."""
_WHO = "A valid token is needed: Authorization: Bearer TOKEN (`apx token issue` makes one)."


class RoleTooLow(Permanent):
    """The token is good, and not for this."""

    code = "role-too-low"
    status = 403


class Access:
    """Reads tokens, asks for roles."""

    def __init__(
        self,
        operators: Operators,
        admin_token: str,
        members: MemberStore,
        pace: Pace,
        assertions: Reads | None = None,
    ) -> None:
        """Without `assertions` the proxy's header says nothing: anybody could have written it."""
        self._members = members
        self._pace = pace
        self._assertions = assertions
        self._readers: tuple[Reads, ...] = (_admin(admin_token), operators.read)
        self.caller: Callable[..., Any] = self._calls()
        """A dependency that gives who calls, with their roles, or answers 401 or 429. It allows nothing."""

    def needs(self, role: Role, of: OrgOf | None = None) -> Callable[..., Any]:
        """Return a dependency that gives the caller, or answers 401, 403 or 404.

        The role is one over the platform; with `of`, or else one in the org that it gives. What takes more than looking
        is logged.
        """
        return self._of_platform(role) if of is None else self._of_org(role, of)

    def looks(self) -> Operator:
        """Return the parameter default of who lists things: whoever sees any org's. `Operator.asks` says which."""
        caller: Operator = Depends(self._anywhere("viewer"))
        return caller

    def source(self, request: Request) -> str:
        """Return the address that a call came from.

        What the load balancer in front of the proxy wrote is believed where the proxy's assertion is: it appends the
        caller's address and its own to `x-forwarded-for`. Anybody else could have written that field.
        """
        hops = [hop.strip() for hop in request.headers.get("x-forwarded-for", "").split(",")]
        if self._assertions is not None and HEADER in request.headers and len(hops) > 1:
            return hops[-2]
        return request.client.host if request.client is not None else ""

    def who(self, role: Role, of: OrgOf | None = None) -> Callable[..., By]:
        """Return a dependency that asks as `needs` does, and gives whom the audit log names."""
        needed = depends(self, role, of)

        def acting(request: Request, caller: Operator = needed) -> By:
            return By(actor=caller.subject, source=self.source(request))

        return acting

    def _of_platform(self, role: Role) -> Callable[..., Any]:
        calling = Depends(self.caller)

        async def check(request: Request, caller: Operator = calling) -> Operator:
            return _allowed(request, caller, role)

        return check

    def _of_org(self, role: Role, of: OrgOf) -> Callable[..., Any]:
        calling, concerned = Depends(self._anywhere(role)), Depends(of)

        async def check(request: Request, caller: Operator = calling, org: str | None = concerned) -> Operator:
            if not caller.sees(org):
                _tell(request, caller, NotFound.status, org)
                raise NotFound(NotFound.public)
            return _allowed(request, caller, role, org)

        return check

    def _anywhere(self, role: Role) -> Callable[..., Any]:
        """Refuse whom nothing is needed to be known of: who is of no org, and has not the role over the platform."""
        calling = Depends(self.caller)

        async def check(request: Request, caller: Operator = calling) -> Operator:
            return caller if caller.orgs else _allowed(request, caller, role, quietly=True)

        return check

    def _calls(self) -> Callable[..., Any]:
        def read(
            authorization: Annotated[str, Header()] = "",
            assertion: Annotated[str | None, Header(alias=HEADER, include_in_schema=False)] = None,
        ) -> Operator | None:
            return self._read(authorization, assertion)

        known = Depends(read)

        async def calls(request: Request, caller: Operator | None = known) -> Operator:
            if caller is None:
                self._pace.take_refused(self.source(request))
                _tell(request, None, 401)
                raise HTTPException(401, _WHO, {"www-authenticate": 'Bearer realm="apx control"'})
            self._pace.take(caller.subject)
            if not caller.member or caller.may("admin"):
                return caller
            roles = await self._members.roles_of(caller.subject.lower())
            return msgspec.structs.replace(caller, orgs=roles)

        return calls

    def _read(self, authorization: str, assertion: str | None) -> Operator | None:
        if self._assertions is not None and assertion is not None:
            return self._assertions(assertion)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = [caller for read in self._readers if (caller := read(token.strip())) is not None]
        return found[0] if found else None


def depends(access: Access, role: Role, of: OrgOf | None = None) -> Operator:
    """Return the parameter default that asks for a role."""
    caller: Operator = Depends(access.needs(role, of))
    return caller


def _allowed(
    request: Request, caller: Operator, role: Role, org: str | None = None, *, quietly: bool = False
) -> Operator:
    """Return a caller who has the role. Raises `RoleTooLow`."""
    if not caller.may(role, org):
        _tell(request, caller, RoleTooLow.status, org)
        held = _role(caller, org) or "of no role"
        raise RoleTooLow(f"{caller.subject} is {held}; this takes the role {role}{'' if org else ' over the platform'}")
    if role != "viewer" and not quietly:
        _tell(request, caller, 0, org)
    return caller


def _admin(admin_token: str) -> Reads:
    def read(token: str) -> Operator | None:
        same = hmac.compare_digest(token.encode(), admin_token.encode())
        return Operator("admin", "admin") if same else None

    return read


def _role(caller: Operator, org: str | None) -> str:
    return caller.orgs.get(org or "") or caller.role or ""


def _tell(request: Request, caller: Operator | None, refused: int, org: str | None = None) -> None:
    """Write who called, for what, and whether they were refused; the path by its template, which holds no value."""
    route = request.scope.get("route")
    logs.canonical(
        "control-call",
        subject=caller.subject if caller else "",
        role=_role(caller, org) if caller else "",
        org=org or "",
        method=request.method,
        path=getattr(route, "path", ""),
        refused=refused,
    )
