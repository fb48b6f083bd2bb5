"""What every `AuditStore` promises."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from apx.audit.checkpoint import Seals
from apx.audit.entry import Change, Head
from apx.audit.store import MOST_AT_ONCE, AuditStore, Mirrored
from apx.audit.verify import verify, verify_store
from apx.backends.gcp.audit import FirestoreAudit
from apx.backends.memory.audit import MemoryAudit
from apx.backends.valkey.audit import ValkeyAudit
from apx.backends.valkey.connection import connect
from apx.errors import Conflict, Unavailable
from tests.contract.conftest import Server, connected, firestore_client

SEALS = Seals(b"s" * 32)
Another = Callable[[], AuditStore]


@pytest.fixture(params=["memory", "valkey", "firestore"])
async def another(request: pytest.FixtureRequest) -> AsyncIterator[Another]:
    """Another process's adapter of the same log."""
    if request.param == "memory":
        memory = MemoryAudit()
        yield lambda: memory
        return
    if request.param == "firestore":
        request.getfixturevalue("firestore_emulator")
        async with firestore_client() as database:
            yield lambda: FirestoreAudit(database)
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield lambda: ValkeyAudit(client)


@pytest.fixture
def store(another: Another) -> AuditStore:
    return another()


def change(n: int = 1, **fields: Any) -> Change:
    return Change(action="key-create", actor="ann", subject=f"key key_{n}", why="für alle", **fields)


async def test_an_empty_log_has_the_head_that_nothing_comes_before(store: AuditStore) -> None:
    assert await store.head() == Head()
    assert await store.read() == []
    assert (await verify_store(store, SEALS)).sound


async def test_what_is_appended_is_read_again(store: AuditStore) -> None:
    (entry,) = await store.append([change(source="10.0.0.1", org="acme", after="x")])
    assert await store.read() == [entry]
    assert (entry.number, entry.actor, entry.why, entry.source) == (1, "ann", "für alle", "10.0.0.1")
    head = await store.head()
    assert (head.number, head.hash, head.at_ms) == (1, entry.hash, entry.at_ms)


async def test_changes_of_one_append_stand_together(store: AuditStore) -> None:
    await store.append([change(1)])
    entries = await store.append([change(2), change(3)])
    assert [one.number for one in entries] == [2, 3]
    assert (await store.read(1)) == entries


@pytest.mark.parametrize("count", [0, MOST_AT_ONCE + 1])
async def test_an_append_takes_some_and_not_too_many(store: AuditStore, count: int) -> None:
    with pytest.raises(ValueError, match="changes"):
        await store.append([change()] * count)


async def test_a_full_append_is_taken(store: AuditStore) -> None:
    await store.append([change(n) for n in range(MOST_AT_ONCE)])
    assert (await verify_store(store, SEALS)).entries == MOST_AT_ONCE


async def test_a_read_begins_behind_a_number_and_ends_at_its_limit(store: AuditStore) -> None:
    await store.append([change(n) for n in range(1, 13)])
    assert [one.number for one in await store.read(8, 3)] == [9, 10, 11]
    assert [one.number for one in await store.read(10)] == [11, 12]
    assert await store.read(12) == []


async def test_times_never_go_back(store: AuditStore) -> None:
    for n in range(5):
        await store.append([change(n)])
    times = [one.at_ms for one in await store.read()]
    assert times == sorted(times)
    assert times[0] > 1_600_000_000_000


async def test_of_many_at_once_each_gets_its_place(another: Another) -> None:
    stores = [another() for _ in range(32)]
    await asyncio.gather(
        *(store.append([change(n, after="a"), change(n, after="b")]) for n, store in enumerate(stores))
    )
    entries = await stores[0].read()
    assert [one.number for one in entries] == list(range(1, 65))
    assert {one.subject for one in entries} == {f"key key_{n}" for n in range(32)}
    assert [one.after for one in entries] == ["a", "b"] * 32
    assert (await verify_store(stores[0], SEALS)).sound


async def test_a_log_is_verified_while_it_grows(another: Another) -> None:
    async def grow(store: AuditStore) -> None:
        for n in range(10):
            await store.append([change(n)])

    growing = [asyncio.create_task(grow(another())) for _ in range(3)]
    while not all(one.done() for one in growing):
        assert (await verify_store(another(), SEALS)).findings == ()
        await asyncio.sleep(0)
    assert (await another().head()).number == 30


async def test_a_mirrored_position_moves_with_its_entry(store: AuditStore) -> None:
    await store.append([change()], mirrored=Mirrored(before="", after="7-0"))
    await store.append([change()])
    assert (await store.head()).mirrored == "7-0"


async def test_an_event_is_mirrored_once(another: Another) -> None:
    same = Mirrored(before="", after="1-0")
    tried = [another().append([change()], mirrored=same) for _ in range(8)]
    outcomes = await asyncio.gather(*tried, return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in outcomes) == 7
    assert (await another().head()).number == 1


async def test_checkpoints_are_kept_by_their_number(store: AuditStore) -> None:
    made = []
    for n in range(3):
        await store.append([change(n)])
        made.append(SEALS.seal(await store.head()))
    for one in (made[2], made[0], made[1], made[1]):
        await store.keep(one)
    assert await store.checkpoints() == made
    report = await verify_store(store, SEALS)
    assert (report.sound, report.sealed) == (True, 3)


async def test_what_is_read_verifies_as_it_is(store: AuditStore) -> None:
    await store.append([change(n) for n in range(4)])
    entries, head = await store.read(), await store.head()
    assert verify(entries, head).sound
    edited = [*entries[:2], msgspec.structs.replace(entries[2], actor="bob"), entries[3]]
    assert [one.kind for one in verify(edited, head).findings] == ["edited"]


async def test_a_key_in_a_reason_is_masked(store: AuditStore) -> None:
    (entry,) = await store.append([change(before="apx_local_0123456789abcdefghijklmnopqrstuvw")])
    assert entry.before == "apx_local_***"


async def test_in_valkey_an_entry_behind_the_head_stops_the_log(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyAudit(client)
        await store.append([change()])
        await client.xadd("apx:chain", {"entry": b"{}"}, id="2-0")
        with pytest.raises(Conflict, match="behind its head"):
            await store.append([change()])
        assert [one.kind for one in (await verify_store(store, SEALS)).findings] == ["edited", "behind-the-head"]


async def test_in_valkey_what_was_appended_outlives_a_kill(own_server: Server) -> None:
    async with connected(own_server) as client:
        await ValkeyAudit(client).append([change(n) for n in range(5)])
    own_server.kill()
    own_server.start()
    async with connected(own_server) as client:
        report = await verify_store(ValkeyAudit(client), SEALS)
        assert (report.sound, report.entries) == (True, 5)


async def test_a_store_that_hangs_is_unavailable(own_server: Server) -> None:
    client = connect(own_server.url, timeout_s=0.2)
    store = ValkeyAudit(client)
    await store.append([change()])
    own_server.signal(signal.SIGSTOP)
    for call in (store.head(), store.read(), store.append([change()]), store.checkpoints()):
        with pytest.raises(Unavailable):
            await call
    own_server.signal(signal.SIGCONT)
    await client.aclose()


async def test_in_firestore_an_entry_behind_the_head_stops_the_log(firestore_emulator: None) -> None:  # noqa: ARG001
    async with firestore_client() as database:
        store = FirestoreAudit(database)
        await store.append([change()])
        await database.document("audit-chain/000000000000002").set({"entry": b"{}"})
        with pytest.raises(Conflict, match="behind its head"):
            await store.append([change()])
        assert [one.kind for one in (await verify_store(store, SEALS)).findings] == ["edited", "behind-the-head"]
