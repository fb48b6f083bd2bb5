"""What every `OrgStore` promises."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import msgspec
import pytest

from apx.admission.orgs import OrgState, OrgStore, OrgTerms
from apx.admission.standing import Standing
from apx.backends.gcp.orgs import FirestoreOrgs
from apx.backends.memory.orgs import MemoryOrgs
from apx.backends.valkey.connection import connect
from apx.backends.valkey.orgs import ValkeyOrgs
from apx.catalog.model import OrgQuota, Rate
from apx.errors import Unavailable
from tests.contract.conftest import Server, connected, firestore_client, until

TERMS = OrgTerms(
    timezone="Europe/Berlin",
    rate=Rate(per_second=2.5, burst=10),
    quotas=(OrgQuota(name="monthly", per="month", requests=1_000_000_000_000),),
    allowlist=("203.0.113.0/24",),
)


@pytest.fixture(params=["memory", "valkey", "firestore"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[OrgStore]:
    if request.param == "memory":
        yield MemoryOrgs()
        return
    if request.param == "firestore":
        request.getfixturevalue("firestore_emulator")
        async with firestore_client() as database:
            yield FirestoreOrgs(database)
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield ValkeyOrgs(client)


def state(org: str = "acme", *, suspended: bool = True) -> OrgState:
    return OrgState(org=org, suspended=suspended, at_ms=5, actor="ann", why="unpaid: ü")


async def heard(feed: AsyncIterator[str], org: str) -> None:
    async with asyncio.timeout(8):
        async for one in feed:
            if one == org:
                return


async def close(feed: AsyncIterator[str]) -> None:
    await feed.aclose()  # type: ignore[attr-defined]  # every adapter's `changes` is a generator


async def test_an_org_that_nothing_was_decided_about_has_no_state(store: OrgStore) -> None:
    assert await store.find("acme") is None
    assert await store.list_orgs() == []


@pytest.mark.parametrize("org", ["", "apx:orgs", "*", "..", "a/b"])
async def test_what_is_no_org_has_no_state(store: OrgStore, org: str) -> None:
    await store.put(state())
    assert await store.find(org) is None


async def test_a_state_is_found_as_it_was_put(store: OrgStore) -> None:
    await store.put(state())
    assert await store.find("acme") == state()


async def test_the_later_state_holds(store: OrgStore) -> None:
    await store.put(state())
    await store.put(state(suspended=False))
    assert await store.list_orgs() == [state(suspended=False)]


async def test_states_are_listed_by_org(store: OrgStore) -> None:
    for org in ("b", "c", "a"):
        await store.put(state(org))
    assert [one.org for one in await store.list_orgs()] == ["a", "b", "c"]


async def test_who_listens_begins_with_a_look_at_all(store: OrgStore) -> None:
    await store.put(state())
    feed = store.changes()
    assert await anext(feed) == ""
    await close(feed)


async def test_everybody_who_listens_hears_of_each_change(store: OrgStore) -> None:
    feeds = [store.changes() for _ in range(3)]
    for feed in feeds:
        await anext(feed)
    for suspended in (True, False):
        await store.put(state(suspended=suspended))
        for feed in feeds:
            await heard(feed, "acme")
    for feed in feeds:
        await close(feed)


async def test_who_listens_is_asked_to_look_again_also_when_nothing_changes(store: OrgStore) -> None:
    feed = store.changes()
    await heard(feed, "")
    await heard(feed, "")
    await close(feed)


async def test_terms_are_found_as_they_were_put(store: OrgStore) -> None:
    await store.put_terms("acme", TERMS)
    assert await store.find("acme") == OrgState(org="acme", terms=TERMS)
    assert await store.list_orgs() == [OrgState(org="acme", terms=TERMS)]


async def test_terms_and_a_suspension_leave_each_other_alone(store: OrgStore) -> None:
    await store.put(state())
    await store.put_terms("acme", TERMS)
    both = msgspec.structs.replace(state(), terms=TERMS)
    assert await store.find("acme") == both
    await store.put(msgspec.structs.replace(state(suspended=False), terms=OrgTerms(timezone="Asia/Tokyo")))
    assert await store.find("acme") == msgspec.structs.replace(both, suspended=False)
    await store.put_terms("acme", OrgTerms())
    assert await store.list_orgs() == [msgspec.structs.replace(both, suspended=False, terms=OrgTerms())]


async def test_terms_that_did_not_change_are_read_once(store: OrgStore) -> None:
    await store.put_terms("acme", TERMS)
    [first], [second] = await store.list_orgs(), await store.list_orgs()
    assert first.terms is second.terms


async def test_orgs_with_either_are_listed(store: OrgStore) -> None:
    await store.put_terms("b", TERMS)
    await store.put(state("a"))
    assert [(one.org, one.terms) for one in await store.list_orgs()] == [("a", None), ("b", TERMS)]


async def test_terms_of_a_newer_version_leave_the_last_ones_and_hide_no_suspension(
    store: OrgStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(store, MemoryOrgs):
        return  # keeps values, and reads nothing
    standing = Standing(store)
    await store.put_terms("acme", TERMS)
    await standing.look()
    newer = msgspec.msgpack.encode({"quotas": [{"name": "w", "per": "week", "requests": 1}]})
    monkeypatch.setattr("msgspec.msgpack.encode", lambda _: newer)
    await store.put_terms("acme", OrgTerms())
    monkeypatch.undo()
    await store.put(state())
    await standing.look()
    assert standing.terms("acme") == TERMS
    assert standing.suspended("acme")
    [found] = await store.list_orgs()
    assert (found.terms, "week" in found.unread) == (None, True)


async def test_an_org_whose_terms_were_never_read_is_not_let_in_without_them() -> None:
    class Newer(MemoryOrgs):
        unread = "quotas[0].per: week"

        async def list_orgs(self) -> list[OrgState]:
            return [OrgState(org="acme", unread=self.unread, terms=None if self.unread else TERMS)]

    store = Newer()
    standing = Standing(store)
    await standing.look()
    with pytest.raises(Unavailable, match="acme"):
        standing.terms("acme")
    assert standing.terms("globex") == OrgTerms()
    store.unread = ""
    await standing.look()
    assert standing.terms("acme") == TERMS


async def test_a_change_of_one_org_asks_for_no_other(store: OrgStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """`apx org apply` changes them all, one after the other."""
    standing, asked = Standing(store), 0
    list_orgs = store.list_orgs

    async def counted() -> list[OrgState]:
        nonlocal asked
        asked += 1
        return await list_orgs()

    monkeypatch.setattr(store, "list_orgs", counted)
    following = asyncio.create_task(standing.follow())
    await asyncio.sleep(0.3)  # until it listens
    before = asked
    for number in range(50):
        await store.put_terms(f"org-{number}", TERMS)
    await store.put(state("org-7"))

    async def all_are_known() -> bool:
        known = all(standing.terms(f"org-{number}") == TERMS for number in range(50))
        return known and standing.suspended("org-7") and not standing.suspended("org-8")

    await until(all_are_known, within_s=5.0)
    assert asked - before <= 5, "the looks of every two seconds"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_new_terms_are_known_everywhere_within_a_second(store: OrgStore) -> None:
    standings = [Standing(store) for _ in range(3)]
    for one in standings:
        await one.look()
        assert one.terms("acme") == OrgTerms()
    following = [asyncio.create_task(one.follow()) for one in standings]
    await asyncio.sleep(0.3)  # until each listens: what is measured is the push
    await store.put_terms("acme", TERMS)

    async def all_know() -> bool:
        return all(one.terms("acme") == TERMS for one in standings)

    await until(all_know, within_s=1.0)
    known = standings[0].terms("acme")
    await standings[0].look()
    assert standings[0].terms("acme") is known
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


async def test_a_suspension_is_known_everywhere_within_a_second(store: OrgStore) -> None:
    standings = [Standing(store) for _ in range(3)]
    following = [asyncio.create_task(one.follow()) for one in standings]
    for one in standings:
        await one.look()
    await asyncio.sleep(0.3)  # until each listens: what is measured is the push
    for suspended in (True, False, True):
        await store.put(state(suspended=suspended))

        async def all_know(expected: bool = suspended) -> bool:  # noqa: FBT001 -- bound in the loop
            return all(one.suspended("acme") == expected for one in standings)

        await until(all_know, within_s=1.0)
    assert not any(one.suspended("other") for one in standings)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


async def test_while_the_store_is_away_what_was_known_holds(own_server: Server) -> None:
    client = connect(own_server.url, timeout_s=0.2)
    store, standing = ValkeyOrgs(client), Standing(ValkeyOrgs(client))
    following = asyncio.create_task(standing.follow())
    await store.put(state())
    await standing.look()
    own_server.kill()
    with pytest.raises(Unavailable):
        await store.find("acme")
    with pytest.raises(Unavailable):
        await store.put(state(suspended=False))
    assert standing.suspended("acme")
    own_server.start()
    await store.put(state(suspended=False))

    async def resumed() -> bool:
        return not standing.suspended("acme")

    await until(resumed)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await client.aclose()


async def test_a_state_outlives_a_kill_of_the_server(own_server: Server) -> None:
    async with connected(own_server) as client:
        await ValkeyOrgs(client).put(state())
    own_server.kill()
    own_server.start()
    async with connected(own_server) as client:
        assert await ValkeyOrgs(client).find("acme") == state()


async def test_a_feed_whose_server_hangs_ends(own_server: Server) -> None:
    client = connect(own_server.url, timeout_s=0.2)
    feed = ValkeyOrgs(client).changes()
    await heard(feed, "")
    own_server.signal(signal.SIGSTOP)
    with pytest.raises(Unavailable):
        await heard(feed, "never")
    own_server.signal(signal.SIGCONT)
    await client.aclose()


async def test_before_the_first_look_nobody_is_let_in() -> None:
    with pytest.raises(Unavailable):
        Standing(MemoryOrgs()).suspended("acme")
