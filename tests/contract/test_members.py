"""What every `MemberStore` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from apx.admission.members import Member, MemberStore
from apx.admission.operators import Role
from apx.backends.gcp.members import FirestoreMembers
from apx.backends.memory.members import MemoryMembers
from apx.backends.valkey.connection import connect
from apx.backends.valkey.members import ValkeyMembers
from apx.errors import Unavailable
from tests.contract.conftest import Server, connected, firestore_client

ANN, BEN = "ann@acme.example", "ben"


@pytest.fixture(params=["memory", "valkey", "firestore"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[MemberStore]:
    if request.param == "memory":
        yield MemoryMembers()
        return
    if request.param == "firestore":
        request.getfixturevalue("firestore_emulator")
        async with firestore_client() as database:
            yield FirestoreMembers(database)
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield ValkeyMembers(client)


def member(who: str, role: Role, org: str = "acme") -> Member:
    return Member(org=org, who=who, role=role)


async def test_who_was_never_added_has_no_role(store: MemberStore) -> None:
    assert await store.of_org("acme") == []
    assert await store.roles_of(ANN) == {}


async def test_members_are_found_by_their_org_and_by_their_name(store: MemberStore) -> None:
    for one in (member(BEN, "viewer"), member(ANN, "admin"), member(ANN, "operator", "globex")):
        assert await store.change(one.org, one.who, None, one.role)
    assert await store.of_org("acme") == [member(ANN, "admin"), member(BEN, "viewer")]
    assert await store.of_org("globex") == [member(ANN, "operator", "globex")]
    assert await store.roles_of(ANN) == {"acme": "admin", "globex": "operator"}
    assert await store.roles_of(BEN) == {"acme": "viewer"}


@pytest.mark.parametrize("name", ["", "of:" + ANN, "in:acme", "*", "..", "a/b", "ac"])
async def test_what_is_no_name_finds_nobody(store: MemberStore, name: str) -> None:
    await store.change("acme", ANN, None, "admin")
    assert await store.of_org(name) == []
    assert await store.roles_of(name) == {}


async def test_a_role_is_changed_and_taken_back_from_both_sides(store: MemberStore) -> None:
    await store.change("acme", ANN, None, "admin")
    assert await store.change("acme", ANN, "admin", "viewer")
    assert await store.of_org("acme") == [member(ANN, "viewer")]
    assert await store.roles_of(ANN) == {"acme": "viewer"}
    assert await store.change("acme", ANN, "viewer", None)
    assert await store.of_org("acme") == []
    assert await store.roles_of(ANN) == {}
    assert await store.change("acme", ANN, None, "operator")
    assert await store.roles_of(ANN) == {"acme": "operator"}


async def test_what_was_changed_meanwhile_stays(store: MemberStore) -> None:
    await store.change("acme", ANN, None, "viewer")
    assert not await store.change("acme", ANN, None, "admin")
    assert not await store.change("acme", ANN, "operator", "admin")
    assert not await store.change("acme", ANN, "operator", None)
    assert await store.roles_of(ANN) == {"acme": "viewer"}
    await store.change("acme", ANN, "viewer", None)
    assert not await store.change("acme", ANN, "viewer", "admin")
    assert await store.roles_of(ANN) == {}


async def test_what_is_so_already_is_no_refusal(store: MemberStore) -> None:
    await store.change("acme", ANN, None, "admin")
    assert await store.change("acme", ANN, None, "admin")
    assert await store.change("acme", BEN, "viewer", None)
    assert await store.of_org("acme") == [member(ANN, "admin")]


async def test_of_many_at_once_one_wins(store: MemberStore) -> None:
    await store.change("acme", ANN, None, "viewer")
    wishes: tuple[Role | None, ...] = ("operator", "admin", None)
    done = await asyncio.gather(*(store.change("acme", ANN, "viewer", wish) for wish in wishes))
    assert sum(done) == 1
    (held,) = (wish for wish, won in zip(wishes, done, strict=True) if won)
    assert (await store.roles_of(ANN)).get("acme") == held


async def test_a_role_of_a_newer_version_grants_nothing(store: MemberStore) -> None:
    if isinstance(store, MemoryMembers):
        return  # keeps values, and reads nothing
    await store.change("acme", ANN, None, "owner")  # type: ignore[arg-type]  # as that version would
    assert await store.of_org("acme") == []
    assert await store.roles_of(ANN) == {}


async def test_members_outlive_a_kill_of_the_server(own_server: Server) -> None:
    async with connected(own_server) as client:
        await ValkeyMembers(client).change("acme", ANN, None, "admin")
    own_server.kill()
    own_server.start()
    async with connected(own_server) as client:
        assert await ValkeyMembers(client).roles_of(ANN) == {"acme": "admin"}


async def test_a_store_that_is_away_is_not_somebody_without_a_role(own_server: Server) -> None:
    client = connect(own_server.url, timeout_s=0.2)
    store = ValkeyMembers(client)
    await store.change("acme", ANN, None, "admin")
    own_server.kill()
    for asked in (store.roles_of(ANN), store.of_org("acme"), store.change("acme", ANN, "admin", None)):
        with pytest.raises(Unavailable):
            await asked
    await client.aclose()
