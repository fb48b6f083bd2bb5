"""What every `KeyStore` promises."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import cast

import msgspec
import pytest
from valkey.asyncio import Valkey

from apx.admission.keys import KeyRecord, KeyStore, sha256_of
from apx.backends.gcp.keys import FirestoreKeys
from apx.backends.memory.keys import MemoryKeys
from apx.backends.valkey.keys import ValkeyKeys
from apx.catalog.model import Rate
from apx.errors import Unavailable
from tests.contract.conftest import Server, connected, firestore_client


@pytest.fixture(params=["memory", "valkey", "firestore"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[KeyStore]:
    if request.param == "memory":
        yield MemoryKeys()
        return
    if request.param == "firestore":
        request.getfixturevalue("firestore_emulator")
        async with firestore_client() as database:
            yield FirestoreKeys(database)
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield ValkeyKeys(client)


def record(n: int = 1, org: str = "acme", created_ms: int = 0) -> KeyRecord:
    return KeyRecord(
        id=f"key_{n}",
        sha256=sha256_of(f"secret {n}"),
        org=org,
        region="eu",
        plans={"orders": "free"},
        created_ms=created_ms,
        note="a note: ü",
        expires_ms=5,
    )


LIMITED = msgspec.structs.replace(
    record(),
    scopes={"orders": ("GET", "POST"), "files": ()},
    allowlist=("203.0.113.0/24", "2001:db8::/32"),
    metadata={"team": "ünïcode"},
    environment="live",
    replaced_by="key_9",
    prefix="sk_",
    rate=Rate(per_second=0.5, burst=10),
    quotas={"day": 1000, "month": 10**12},
    family="key_0",
)


async def heard(feed: AsyncIterator[str], within_s: float = 5.0) -> str:
    async with asyncio.timeout(within_s):
        return await anext(feed)


async def close(feed: AsyncIterator[str]) -> None:
    await feed.aclose()  # type: ignore[attr-defined]  # every adapter's `changes` is a generator


async def test_a_key_is_found_by_its_hash(store: KeyStore) -> None:
    await store.put(record())
    assert await store.find(record().sha256) == record()


async def test_a_key_comes_back_with_all_its_terms(store: KeyStore) -> None:
    await store.put(LIMITED)
    assert await store.find(LIMITED.sha256) == LIMITED


async def test_a_key_is_found_by_its_id(store: KeyStore) -> None:
    await store.put(record(1))
    await store.put(record(2))
    assert await store.named("key_2") == record(2)


@pytest.mark.parametrize("key_id", ["", "key_3", "key_", record().sha256, "*", "../key_1", "\n"])
async def test_an_unknown_id_is_none(store: KeyStore, key_id: str) -> None:
    await store.put(record())
    assert await store.named(key_id) is None


ENDED = msgspec.structs.replace(record(), replaced_by="key_2", expires_ms=7)


async def test_a_replaced_key_stands_beside_the_new_one(store: KeyStore) -> None:
    await store.put(record())
    assert await store.replace(record(), ENDED, record(2))
    assert [await store.named("key_1"), await store.named("key_2")] == [ENDED, record(2)]
    assert await store.list_keys() == [ENDED, record(2)]


async def test_a_key_is_changed_alone(store: KeyStore) -> None:
    await store.put(record())
    await store.put(record(2))
    feed = store.changes()
    await heard(feed)
    assert await store.replace(record(), LIMITED)
    assert await heard(feed) == LIMITED.sha256
    assert await store.list_keys() == [LIMITED, record(2)]
    assert not await store.replace(record(), ENDED)
    await close(feed)


async def test_a_revoked_key_is_not_brought_back_by_replacing_it(store: KeyStore) -> None:
    await store.put(record())
    await store.revoke("key_1")
    assert not await store.replace(record(), ENDED, record(2))
    assert not await store.replace(record(), LIMITED)
    assert await store.list_keys() == []


async def test_of_those_who_replace_a_key_at_one_time_one_does(store: KeyStore) -> None:
    await store.put(record())
    others = [
        store.replace(record(), msgspec.structs.replace(ENDED, replaced_by=f"key_{n}"), record(n)) for n in range(2, 7)
    ]
    assert sum(await asyncio.gather(*others)) == 1
    ended, new = await store.list_keys()
    assert (ended.id, ended.replaced_by) == ("key_1", new.id)


async def test_who_listens_hears_of_both_keys_of_a_replacement(store: KeyStore) -> None:
    await store.put(record())
    feed = store.changes()
    await heard(feed)
    await store.replace(record(), ENDED, record(2))
    assert {await heard(feed), await heard(feed)} == {record(1).sha256, record(2).sha256}
    await close(feed)


async def test_prefixes_are_those_that_were_declared(store: KeyStore) -> None:
    assert await store.prefixes() == set()
    for prefix in ("sk_live_", "__x__", "...", "sk_live_"):
        await store.declare(prefix)
    assert await store.prefixes() == {"sk_live_", "__x__", "..."}


@pytest.mark.parametrize("digest", ["", "0" * 64, "apx:keys", "*", "\n"])
async def test_an_unknown_hash_is_none(store: KeyStore, digest: str) -> None:
    await store.put(record())
    assert await store.find(digest) is None


async def test_a_revoked_key_is_gone(store: KeyStore) -> None:
    await store.put(record())
    assert await store.revoke("key_1") == record()
    assert await store.find(record().sha256) is None
    assert await store.list_keys() == []


async def test_a_key_is_revoked_once(store: KeyStore) -> None:
    await store.put(record())
    await store.revoke("key_1")
    assert await store.revoke("key_1") is None


async def test_revoking_an_unknown_key_touches_no_other(store: KeyStore) -> None:
    await store.put(record())
    assert await store.revoke("key_2") is None
    assert await store.list_keys() == [record()]


async def test_keys_are_listed_by_org_and_age(store: KeyStore) -> None:
    records = [record(1, "b", 1), record(2, "a", 2), record(3, "a", 1)]
    for one in records:
        await store.put(one)
    assert [one.id for one in await store.list_keys()] == ["key_3", "key_2", "key_1"]


async def test_the_keys_of_one_org_are_listed_alone(store: KeyStore) -> None:
    await store.put(record(1, "a"))
    await store.put(record(2, "b"))
    assert [one.id for one in await store.list_keys("b")] == ["key_2"]


async def test_who_listens_begins_with_something_may_have_been_missed(store: KeyStore) -> None:
    feed = store.changes()
    assert await heard(feed) == ""
    await close(feed)


async def test_who_listens_hears_of_new_and_of_revoked_keys(store: KeyStore) -> None:
    feed = store.changes()
    await heard(feed)
    await store.put(record())
    await store.revoke("key_1")
    assert [await heard(feed), await heard(feed)] == [record().sha256] * 2
    await close(feed)


async def test_everybody_who_listens_hears(store: KeyStore) -> None:
    feeds = [store.changes() for _ in range(5)]
    for feed in feeds:
        await heard(feed)
    await store.put(record())
    for feed in feeds:
        assert await heard(feed) == record().sha256
        await close(feed)


async def test_a_quiet_feed_stays_quiet(store: KeyStore) -> None:
    feed = store.changes()
    await heard(feed)
    with pytest.raises(TimeoutError):
        await heard(feed, within_s=2.5)  # longer than its signs of life are apart


async def test_keys_and_revocations_survive_a_killed_server(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyKeys(client)
        await store.put(record(1))
        await store.put(record(2))
        await store.revoke("key_1")
    own_server.kill()
    own_server.start()
    async with connected(own_server) as client:
        assert await ValkeyKeys(client).list_keys() == [record(2)]


async def test_a_record_of_before_there_were_terms_still_reads(valkey: Valkey) -> None:
    old = {"id": "key_1", "sha256": record().sha256, "org": "acme", "region": "eu", "plans": {}, "created_ms": 0}
    await valkey.set(f"apx:key:{record().sha256}", msgspec.msgpack.encode(old))
    found = await ValkeyKeys(valkey).find(record().sha256)
    assert found is not None
    assert (found.scopes, found.allowlist, found.expires_ms, found.replaced_by) == ({}, (), None, "")


async def test_the_store_holds_no_key_in_clear(valkey: Valkey) -> None:
    await ValkeyKeys(valkey).put(record())
    kept = b""
    for name in await valkey.keys("*"):
        dumped = await valkey.dump(name)
        kept += name + cast("bytes", dumped)
    assert b"secret 1" not in kept


async def test_a_store_that_is_away_is_unavailable_and_never_none(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyKeys(client)
        own_server.kill()
        for asked in (
            store.find(record().sha256),
            store.named("key_1"),
            store.put(record()),
            store.replace(record(), ENDED, record(2)),
            store.revoke("key_1"),
            store.list_keys(),
            store.declare("sk_"),
            store.prefixes(),
        ):
            with pytest.raises(Unavailable):
                await asked


async def test_a_store_that_hangs_is_unavailable(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyKeys(client)
        await store.find(record().sha256)
        own_server.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(5):
                with pytest.raises(Unavailable):
                    await store.find(record().sha256)
        finally:
            own_server.signal(signal.SIGCONT)


async def test_a_feed_over_a_server_that_goes_ends(own_server: Server) -> None:
    async with connected(own_server) as client:
        feed = ValkeyKeys(client).changes()
        await heard(feed)
        own_server.kill()
        with pytest.raises(Unavailable):
            await heard(feed, within_s=8)


async def test_a_feed_over_a_server_that_hangs_ends_before_a_revoked_key_is_old(own_server: Server) -> None:
    async with connected(own_server) as client:
        feed = ValkeyKeys(client).changes()
        await heard(feed)
        own_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await heard(feed, within_s=5)
        finally:
            own_server.signal(signal.SIGCONT)


async def test_a_feed_whose_connection_is_cut_says_that_changes_may_have_been_missed(own_server: Server) -> None:
    async with connected(own_server) as client, connected(own_server) as other:
        feed = ValkeyKeys(client).changes()
        await heard(feed)
        await other.client_kill_filter(_type="pubsub")
        try:
            said = await heard(feed, within_s=8)
        except Unavailable:
            said = ""
        assert said == ""
