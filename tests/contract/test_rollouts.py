"""What every `RolloutStore` promises."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import pytest
from valkey.asyncio import Valkey

from apx.backends.gcp.rollouts import FirestoreRollouts
from apx.backends.memory.rollouts import MemoryRollouts
from apx.backends.valkey.rollouts import ValkeyRollouts
from apx.catalog.model import RolloutSpec
from apx.errors import Conflict, Unavailable
from apx.rollout.active import Aborted, Active, AuditEntry, RolloutStore, Snapshot
from apx.rollout.model import Evidence, Interval, Revert, Rollout, Verdict
from tests.contract.conftest import Server, connected, firestore_client, until


@pytest.fixture(params=["memory", "valkey", "firestore"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RolloutStore]:
    if request.param == "memory":
        yield MemoryRollouts()
        return
    if request.param == "firestore":
        request.getfixturevalue("firestore_emulator")
        async with firestore_client() as database:
            yield FirestoreRollouts(database)
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield ValkeyRollouts(client)


def active(revision: int = 0, product: str = "orders", stable: str = "sha256:a") -> Active:
    return Active(product=product, stable=stable, revision=revision)


def entry(product: str = "orders", after: str = "sha256:a") -> AuditEntry:
    return AuditEntry(at_ms=1, actor="me", action="activate", product=product, before=None, after=after, why="because")


async def next_of(feed: AsyncIterator[Snapshot], within_s: float = 5.0) -> Snapshot:
    async with asyncio.timeout(within_s):
        return await anext(feed)


async def end_of(feed: AsyncIterator[Snapshot]) -> None:
    async with asyncio.timeout(8):
        async for _ in feed:
            pass


async def close(feed: AsyncIterator[object]) -> None:
    await feed.aclose()  # type: ignore[attr-defined]  # every adapter's feeds are generators


async def test_a_fresh_store_has_nothing(store: RolloutStore) -> None:
    assert await store.read() == Snapshot()


async def test_a_change_is_read_back_with_the_next_revision(store: RolloutStore) -> None:
    changed = await store.change(active(), entry())
    assert changed == active(revision=1)
    assert (await store.read()).products == {"orders": changed}


async def test_each_change_of_any_product_is_a_new_revision_of_the_whole(store: RolloutStore) -> None:
    await store.change(active(), entry())
    await store.change(active(product="exports"), entry("exports"))
    assert (await store.read()).revision == 2


async def test_products_keep_their_own_revisions(store: RolloutStore) -> None:
    await store.change(await store.change(active(), entry()), entry())
    await store.change(active(product="exports"), entry("exports"))
    products = (await store.read()).products
    assert {name: one.revision for name, one in products.items()} == {"orders": 2, "exports": 1}


@pytest.mark.parametrize("revision", [0, 2, 7])
async def test_a_change_from_another_revision_is_a_conflict(store: RolloutStore, revision: int) -> None:
    await store.change(active(), entry())
    with pytest.raises(Conflict, match="orders is at"):
        await store.change(active(revision, stable="sha256:b"), entry())


async def test_a_conflict_changes_nothing_and_leaves_no_entry(store: RolloutStore) -> None:
    await store.change(active(), entry())
    before = await store.read(), await store.history("orders")
    with pytest.raises(Conflict):
        await store.change(active(0, stable="sha256:b"), entry(after="sha256:b"))
    assert (await store.read(), await store.history("orders")) == before


async def test_of_32_at_one_time_one_wins_each_revision(store: RolloutStore) -> None:
    async def change(number: int) -> list[int]:
        won = []
        for _ in range(4):
            now = (await store.read()).products.get("orders", active())
            wanted = active(now.revision, stable=f"sha256:{number}")
            try:
                won.append((await store.change(wanted, entry(after=wanted.stable))).revision)
            except Conflict:
                continue
        return won

    won = [revision for each in await asyncio.gather(*(change(n) for n in range(32))) for revision in each]
    assert sorted(won) == list(range(1, len(won) + 1))


async def test_every_change_has_its_entry(store: RolloutStore) -> None:
    now = active()
    for number in range(3):
        now = await store.change(active(now.revision, stable=f"sha256:{number}"), entry(after=f"sha256:{number}"))
    assert [one.after for one in await store.history("orders")] == ["sha256:2", "sha256:1", "sha256:0"]


async def test_an_entry_is_read_back_as_it_was_written(store: RolloutStore) -> None:
    await store.change(active(), entry())
    assert await store.history("orders") == [entry()]


async def test_the_history_is_of_one_product_and_bounded(store: RolloutStore) -> None:
    await store.change(active(product="exports"), entry("exports"))
    now = active()
    for _ in range(3):
        now = await store.change(now, entry())
    assert [one.product for one in await store.history("orders", limit=2)] == ["orders", "orders"]


async def test_an_unknown_product_has_no_history(store: RolloutStore) -> None:
    assert await store.history("nothing") == []


async def test_a_watch_begins_with_what_is(store: RolloutStore) -> None:
    await store.change(active(), entry())
    feed = store.watch()
    assert (await next_of(feed)).revision == 1
    await close(feed)


async def test_a_watch_yields_a_change_within_a_second(store: RolloutStore) -> None:
    feed = store.watch()
    await next_of(feed)
    await store.change(active(), entry())
    began = time.monotonic()
    while (await next_of(feed)).revision != 1:
        pass
    assert time.monotonic() - began < 1
    await close(feed)


async def test_every_watch_hears_of_a_change(store: RolloutStore) -> None:
    feeds = [store.watch() for _ in range(5)]
    for feed in feeds:
        await next_of(feed)
    await store.change(active(), entry())
    for feed in feeds:
        while (await next_of(feed)).revision != 1:
            pass
        await close(feed)


async def test_a_watch_gives_signs_of_life(store: RolloutStore) -> None:
    feed = store.watch()
    assert await next_of(feed) == await next_of(feed)
    await close(feed)


async def test_a_watch_never_goes_back(store: RolloutStore) -> None:
    feed = store.watch()
    seen: list[int] = []

    async def change() -> None:
        now = active()
        for _ in range(30):
            now = await store.change(now, entry())

    changing = asyncio.ensure_future(change())
    while not seen or seen[-1] < 30:
        seen.append((await next_of(feed)).revision)
    await changing
    await close(feed)
    assert seen == sorted(seen)


async def test_live_state_and_entries_survive_a_killed_server(own_server: Server) -> None:
    async with connected(own_server) as client:
        await ValkeyRollouts(client).change(active(), entry())
    own_server.kill()
    own_server.start()
    async with connected(own_server) as client:
        store = ValkeyRollouts(client)
        assert (await store.read()).products == {"orders": active(1)}
        assert await store.history("orders") == [entry()]


async def test_a_change_works_after_the_server_has_forgotten_the_script(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyRollouts(client)
        changed = await store.change(active(), entry())
        await client.script_flush()
        assert (await store.change(changed, entry())).revision == 2


async def test_a_watch_ends_with_unavailable_when_the_server_goes(own_server: Server) -> None:
    async with connected(own_server) as client:
        feed = ValkeyRollouts(client).watch()
        await next_of(feed)
        own_server.kill()
        with pytest.raises(Unavailable):
            await end_of(feed)


async def test_a_watch_over_a_hanging_server_ends_within_seconds(own_server: Server) -> None:
    async with connected(own_server) as client:
        feed = ValkeyRollouts(client).watch()
        await next_of(feed)
        own_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await end_of(feed)
        finally:
            own_server.signal(signal.SIGCONT)


async def test_a_change_that_was_missed_while_away_is_seen_on_return(own_server: Server) -> None:
    async with connected(own_server) as client, connected(own_server) as other:
        store = ValkeyRollouts(client)
        feed = store.watch()
        await next_of(feed)
        own_server.kill()
        with pytest.raises(Unavailable):
            await end_of(feed)
        own_server.start()
        await ValkeyRollouts(other).change(active(), entry())
        again = store.watch()
        assert (await next_of(again)).revision == 1
        await close(again)


async def test_a_server_that_is_away_is_unavailable(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyRollouts(client)
        own_server.kill()
        for asked in (store.read(), store.change(active(), entry()), store.history("orders")):
            with pytest.raises(Unavailable):
                await asked


def rollout() -> Rollout:
    interval = Interval(events=3, requests=100, low=0.01, high=0.08)
    evidence = Evidence(
        measure="errors", says="fail", candidate=interval, stable=interval, limit=0.01, org="acme", text="over: ü"
    )
    return Rollout(
        id="r1",
        candidate="sha256:b",
        stable="sha256:a",
        spec=RolloutSpec(),
        state="paused",
        step=1,
        weight_percent=12.5,
        paused_in="canary",
        started_ms=1,
        entered_ms=2,
        held_ms=3,
        by="me",
        why="because",
        wave="w",
        commit="c0ffee",
        forced=True,
        reason="held",
        verdict=Verdict(outcome="fail", reason="errors", evidence=(evidence,), at_ms=4),
        revert=Revert(state="open", where="there", detail="soon"),
    )


async def test_a_rollout_is_read_back_as_it_was_written(store: RolloutStore) -> None:
    waiting = msgspec.structs.replace(rollout(), id="r2", state="pending", paused_in=None, verdict=None, revert=None)
    aborted = (Aborted(digest="sha256:c", at_ms=5, reason="errors"), Aborted(digest="sha256:d", at_ms=6, reason=""))
    wanted = Active(
        product="orders", stable="sha256:a", previous="sha256:0", rollout=rollout(), waiting=waiting, aborted=aborted
    )
    changed = await store.change(wanted, entry())
    assert (await store.read()).products["orders"] == changed == msgspec.structs.replace(wanted, revision=1)


async def test_an_entry_is_read_back_with_its_rollout_and_its_evidence(store: RolloutStore) -> None:
    wanted = msgspec.structs.replace(entry(), rollout="r1", state="canary 2/3", verdict=rollout().verdict)
    await store.change(active(), wanted)
    assert await store.history("orders") == [wanted]


async def test_the_stores_clock_goes_on(store: RolloutStore) -> None:
    began = await store.now_ms()
    assert abs(began - time.time() * 1000) < 5000

    async def moved() -> bool:
        return await store.now_ms() > began

    await until(moved)


async def changes(feed: AsyncIterator[tuple[str, AuditEntry]], count: int) -> list[tuple[str, AuditEntry]]:
    async with asyncio.timeout(5):
        return [await anext(feed) for _ in range(count)]


async def change_often(store: RolloutStore, product: str, count: int) -> None:
    now = active(product=product)
    for number in range(count):
        now = await store.change(now, entry(product, after=f"sha256:{number}"))


async def test_events_are_every_change_of_any_product_in_order(store: RolloutStore) -> None:
    feed = store.events("0")
    hearing = asyncio.ensure_future(changes(feed, 40))
    await asyncio.gather(change_often(store, "orders", 20), change_often(store, "exports", 20))
    heard = [one for _, one in await hearing]
    for product in ("orders", "exports"):
        mine = [one for one in heard if one.product == product]
        assert mine == list(reversed(await store.history(product)))
    await close(feed)


async def test_events_go_on_after_a_position(store: RolloutStore) -> None:
    await change_often(store, "orders", 5)
    feed = store.events("0")
    heard = await changes(feed, 5)
    await close(feed)
    again = store.events(heard[2][0])
    assert await changes(again, 2) == heard[3:]
    await close(again)


async def test_events_without_a_position_begin_now(store: RolloutStore) -> None:
    await change_often(store, "orders", 3)
    feed = store.events()
    hearing = asyncio.ensure_future(changes(feed, 1))
    changing = asyncio.ensure_future(change_often(store, "exports", 200))
    [(_, first)] = await hearing
    await changing
    assert first.product == "exports"
    await close(feed)


@pytest.mark.parametrize("after", ["0", "end", "-1", "1-", "$", "+", "\0", "9" * 40, "99-" + "9" * 40])
async def test_a_position_that_is_none_begins_with_the_oldest(store: RolloutStore, after: str) -> None:
    await change_often(store, "orders", 2)
    feed = store.events(after)
    assert [one.after for _, one in await changes(feed, 2)] == ["sha256:0", "sha256:1"]
    await close(feed)


async def test_a_conflict_is_no_event(store: RolloutStore) -> None:
    await change_often(store, "orders", 1)
    with pytest.raises(Conflict):
        await store.change(active(0), entry(after="sha256:lost"))
    await change_often(store, "exports", 1)
    feed = store.events("0")
    assert [one.product for _, one in await changes(feed, 2)] == ["orders", "exports"]
    await close(feed)


async def test_records_of_an_older_version_are_read(valkey: Valkey) -> None:
    old = {"product": "orders", "stable": "sha256:a", "previous": None, "revision": 3}
    told = {"at_ms": 1, "actor": "me", "action": "activate", "product": "orders", "before": None, "after": "sha256:a"}
    async with valkey.pipeline(transaction=True) as before:
        before.execute_command("HSET", "apx:active", "orders", msgspec.msgpack.encode(old))
        before.execute_command("HSET", "apx:active:revisions", "orders", 3)
        before.set("apx:active:revision", 3)
        before.xadd("apx:audit:orders", {"entry": msgspec.json.encode({**told, "why": "because"})})
        await before.execute()
    store = ValkeyRollouts(valkey)
    assert (await store.read()).products == {"orders": active(3)}
    assert await store.history("orders") == [entry()]
    assert (await store.change(active(3), entry())).revision == 4


async def test_a_change_is_pushed_in_under_half_a_second(valkey: Valkey) -> None:
    feed = ValkeyRollouts(valkey).watch()
    await next_of(feed)
    hearing = asyncio.ensure_future(next_of(feed))
    await ValkeyRollouts(valkey).change(active(), entry())
    began = time.monotonic()
    assert (await hearing).revision == 1
    assert time.monotonic() - began < 0.5
    await close(feed)


async def test_a_change_that_nobody_was_told_of_is_found_within_three_seconds(valkey: Valkey) -> None:
    store = ValkeyRollouts(valkey)
    watching, hearing = store.watch(), store.events("0")
    await next_of(watching)
    heard = asyncio.ensure_future(changes(hearing, 1))
    state, told = msgspec.msgpack.encode(active(1)), msgspec.json.encode(entry())
    async with valkey.pipeline(transaction=True) as unsaid:
        unsaid.execute_command("HSET", "apx:active", "orders", state)
        unsaid.incr("apx:active:revision")
        unsaid.xadd("apx:audit", {"entry": told})
        await unsaid.execute()
    async with asyncio.timeout(3):
        while (await next_of(watching)).revision != 1:
            pass
        assert [one for _, one in await heard] == [entry()]
    await close(watching)
    await close(hearing)


async def test_a_change_is_seen_within_three_seconds_of_a_cut_connection(own_server: Server) -> None:
    async with connected(own_server) as client, connected(own_server) as other:
        store = ValkeyRollouts(client)
        feed = store.watch()
        await next_of(feed)
        await other.client_kill_filter(_type="pubsub")
        await ValkeyRollouts(other).change(active(), entry())
        async with asyncio.timeout(3):
            while True:
                with suppress(Unavailable):
                    if (await next_of(feed)).revision == 1:
                        break
                    continue
                feed = store.watch()
        await close(feed)


async def test_events_that_are_kept_are_bounded(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.backends.valkey.rollouts.MOST_EVENTS", 100)
    await change_often(ValkeyRollouts(valkey), "orders", 400)
    assert 100 <= await valkey.xlen("apx:audit") <= 300  # whole nodes of 100 go at once


async def test_a_full_server_is_unavailable_and_changes_nothing(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyRollouts(client)
        changed = await store.change(active(), entry())
        await client.config_set("maxmemory", 1)
        with pytest.raises(Unavailable):
            await store.change(changed, entry(after="sha256:b"))
        await client.config_set("maxmemory", 0)
        assert (await store.read()).products == {"orders": changed}
        assert await store.history("orders") == [entry()]
        assert await client.xlen("apx:audit") == 1


async def test_events_end_with_unavailable_and_go_on_where_they_ended(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyRollouts(client)
        await change_often(store, "orders", 2)
        feed = store.events("0")
        [_, (position, _)] = await changes(feed, 2)
        own_server.kill()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(8):
                await anext(feed)
        own_server.start()
        await change_often(store, "exports", 1)
        again = store.events(position)
        assert [one.product for _, one in await changes(again, 1)] == ["exports"]
        await close(again)


async def test_events_of_a_hanging_server_end_within_seconds(own_server: Server) -> None:
    async with connected(own_server) as client:
        store = ValkeyRollouts(client)
        await change_often(store, "orders", 1)
        feed = store.events("0")
        await changes(feed, 1)
        own_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                async with asyncio.timeout(8):
                    await anext(feed)
        finally:
            own_server.signal(signal.SIGCONT)
