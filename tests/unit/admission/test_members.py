"""Adding and removing members of orgs."""

from __future__ import annotations

import pytest

from apx.admission import members as module
from apx.admission.members import Member, Members
from apx.admission.operators import Role
from apx.admission.orgs import OrgState
from apx.backends.memory.keys import MemoryKeys
from apx.backends.memory.members import MemoryMembers
from apx.backends.memory.orgs import MemoryOrgs
from apx.errors import Conflict, NotFound, Unsupported

ANN = "ann@acme.example"


class Overtaken(MemoryMembers):
    """Somebody else is always first."""

    async def change(self, org: str, who: str, before: Role | None, after: Role | None) -> bool:
        del before, after
        await super().change(org, who, None, "operator")
        return False


async def members_in(store: MemoryMembers) -> Members:
    orgs = MemoryOrgs()
    await orgs.put(OrgState(org="acme"))
    return Members(store, orgs, MemoryKeys())


async def test_letters_large_and_small_are_the_same_somebody() -> None:
    members = await members_in(MemoryMembers())
    assert await members.add("acme", "Ann@Acme.example", "viewer") == (Member(org="acme", who=ANN, role="viewer"), True)
    assert (await members.add("acme", ANN.upper(), "admin"))[0] == Member(org="acme", who=ANN, role="admin")
    assert [one.who for one in await members.listed("acme")] == [ANN]
    assert await members.remove("acme", "ANN@acme.example") == Member(org="acme", who=ANN, role="admin")
    assert await members.listed("acme") == []


async def test_an_org_that_is_not_here_has_no_members() -> None:
    members = await members_in(MemoryMembers())
    for asked in (members.listed("amce"), members.add("amce", ANN, "viewer"), members.remove("amce", ANN)):
        with pytest.raises(NotFound, match="amce"):
            await asked


@pytest.mark.parametrize("who", ["", "a b", "*", "@acme", "x" * 65, "a/b", "ä"])
async def test_what_no_token_and_no_address_can_be_is_no_member(who: str) -> None:
    with pytest.raises(Unsupported, match="nobody's name"):
        await (await members_in(MemoryMembers())).add("acme", who, "viewer")


async def test_who_was_overtaken_is_told() -> None:
    store = Overtaken()
    members = await members_in(store)
    with pytest.raises(Conflict, match="somebody else first"):
        await members.add("acme", ANN, "admin")
    with pytest.raises(Conflict, match="somebody else first"):
        await members.remove("acme", ANN)
    assert await store.roles_of(ANN) == {"acme": "operator"}


async def test_an_org_has_so_many_members_and_may_still_change_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PER_ORG", 2)
    members = await members_in(MemoryMembers())
    for who in ("ann", "ben"):
        await members.add("acme", who, "viewer")
    with pytest.raises(Conflict, match="remove one"):
        await members.add("acme", "cleo", "viewer")
    assert (await members.add("acme", "ann", "admin"))[1]
