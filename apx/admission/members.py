"""Members of an org: who may see and do what concerns it over the control API, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from apx.admission.keys import KeyStore
from apx.admission.operators import SUBJECT, Role
from apx.admission.orgs import OrgStore, known_org
from apx.errors import Conflict, NotFound, Unsupported

MOST_PER_ORG = 1000


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's role in an org."""

    org: str
    who: str
    """An e-mail address, or the name in a token; in lower case."""
    role: Role


class MemberStore(Protocol):
    """Roles by org and by whom they are of.

    - `change` is a compare-and-swap, durable when it returns, and seen by every `of_org` and `roles_of` after it. If it
      raises `Unavailable` it may or may not have been done.
    - A role that this version does not know grants nothing: it is in neither answer.
    - A store that does not answer is `Unavailable`, never somebody without a role.
    """

    async def of_org(self, org: str) -> list[Member]:
        """Return an org's members, by name."""
        ...

    async def roles_of(self, who: str) -> Mapping[str, Role]:
        """Return somebody's roles by org."""
        ...

    async def change(self, org: str, who: str, before: Role | None, after: Role | None) -> bool:
        """Let somebody have the role `after` in an org, None being none; False: it was not `before` any longer.

        Where it was `after` already, by whomever, it is True.
        """
        ...


class Members:
    """Shows, adds and removes members of the orgs that there are."""

    def __init__(self, store: MemberStore, orgs: OrgStore, keys: KeyStore) -> None:
        self._store = store
        self._orgs = orgs
        self._keys = keys

    async def listed(self, org: str) -> list[Member]:
        """Return an org's members. Raises `NotFound` for an org that has neither key nor state, `Unavailable`."""
        await known_org(self._orgs, self._keys, org)
        return await self._store.of_org(org)

    async def add(self, org: str, who: str, role: Role) -> tuple[Member, bool]:
        """Let somebody have a role in an org, also in place of another; return it, and whether that changed anything.

        Raises `Unsupported` for a name that no token and no address can have, `Conflict` when somebody else was first
        or the org has `MOST_PER_ORG`, and as `listed`. Two that are added at the same moment may be one more.
        """
        if not SUBJECT.fullmatch(who):
            raise Unsupported(f"{who[:80]!r} is nobody's name: an e-mail address, or what a token is for")
        wanted = Member(org=org, who=who.lower(), role=role)
        standing = {one.who: one.role for one in await self.listed(org)}
        before = standing.get(wanted.who)
        if before == role:
            return wanted, False
        if before is None and len(standing) >= MOST_PER_ORG:
            raise Conflict(f"{org} has {MOST_PER_ORG} members, which is the most: remove one")
        await self._change(wanted, before, role)
        return wanted, True

    async def remove(self, org: str, who: str) -> Member:
        """Let somebody have no role in an org from now on; return what they were.

        Raises `NotFound` for who is no member, and as `add`.
        """
        for one in await self.listed(org):
            if one.who == who.lower():
                await self._change(one, one.role, None)
                return one
        raise NotFound(f"{who[:80]!r} is no member of {org}; `apx org member list {org}` shows them")

    async def _change(self, member: Member, before: Role | None, after: Role | None) -> None:
        if not await self._store.change(member.org, member.who, before, after):
            raise Conflict(f"{member.who}'s role in {member.org} was changed by somebody else first; look again")


def shown_member(member: Member) -> dict[str, object]:
    """Show who is a member, and as what."""
    return {"org": member.org, "who": member.who, "role": member.role}
