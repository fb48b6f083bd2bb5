"""Members in Valkey: `apx:members:in:<org>` maps who → role, `apx:members:of:<who>` org → role.

The `MemberStore` port.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import cast

from valkey.asyncio import Valkey

from apx.admission.members import Member, MemberStore
from apx.admission.operators import Role, is_role
from apx.backends.valkey.connection import Script, unavailable
from apx.backends.valkey.log import Log

_IN, _OF = "apx:members:in:", "apx:members:of:"


class ValkeyMembers(MemberStore):
    """Each change is one script that writes both maps, and is on the store's disk when it returns."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._change = Script(client, "members", log=Log(client))

    async def of_org(self, org: str) -> list[Member]:
        """Return an org's members, by name."""
        return [Member(org=org, who=who, role=role) for who, role in sorted((await self._roles(_IN + org)).items())]

    async def roles_of(self, who: str) -> Mapping[str, Role]:
        """Return somebody's roles by org."""
        return await self._roles(_OF + who)

    async def change(self, org: str, who: str, before: Role | None, after: Role | None) -> bool:
        """Let somebody have the role `after` in an org; False: it was not `before` any longer."""
        return bool(await self._change.repeat(org, who, before or "", after or ""))

    async def _roles(self, name: str) -> dict[str, Role]:
        with unavailable("looking up members"):
            found = await cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(name))
        return {one.decode(): role for one, kept in found.items() if is_role(role := kept.decode())}
