"""Members in this process. The fake of the `MemberStore` port."""

from __future__ import annotations

from collections.abc import Mapping

from apx.admission.members import Member, MemberStore
from apx.admission.operators import Role


class MemoryMembers(MemberStore):
    """A dictionary."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str], Role] = {}

    async def of_org(self, org: str) -> list[Member]:
        """Return an org's members, by name."""
        return [Member(org=of, who=who, role=role) for (of, who), role in sorted(self._roles.items()) if of == org]

    async def roles_of(self, who: str) -> Mapping[str, Role]:
        """Return somebody's roles by org."""
        return {org: role for (org, one), role in self._roles.items() if one == who}

    async def change(self, org: str, who: str, before: Role | None, after: Role | None) -> bool:
        """Let somebody have the role `after` in an org; False: it was not `before` any longer."""
        stands = self._roles.get((org, who))
        if stands not in (before, after):
            return False
        if after is None:
            self._roles.pop((org, who), None)
        else:
            self._roles[org, who] = after
        return True
