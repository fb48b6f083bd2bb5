"""Members whose changes are recorded."""

from __future__ import annotations

from collections.abc import Mapping

from apx.admission.members import Member, MemberStore
from apx.admission.operators import Role
from apx.audit.record import Recorder

_NONE = "none"


class RecordedMembers(MemberStore):
    """A store of members whose changes are recorded."""

    def __init__(self, members: MemberStore, recorder: Recorder) -> None:
        self._members = members
        self._recorder = recorder

    async def of_org(self, org: str) -> list[Member]:
        """Return an org's members."""
        return await self._members.of_org(org)

    async def roles_of(self, who: str) -> Mapping[str, Role]:
        """Return somebody's roles by org."""
        return await self._members.roles_of(who)

    async def change(self, org: str, who: str, before: Role | None, after: Role | None) -> bool:
        """Record and store a change of somebody's role."""
        async with self._recorder.recorded(
            "org-member", f"member {who}", org=org, before=before or _NONE, after=after or _NONE
        ):
            return await self._members.change(org, who, before, after)
