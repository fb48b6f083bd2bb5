"""What every `RolloutStore` promises."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest

from apx.backends.memory.rollouts import MemoryRollouts
from apx.backends.valkey.rollouts import ValkeyRollouts
from apx.errors import Conflict, Unavailable
from apx.rollout.active import Active, AuditEntry, RolloutStore, Snapshot
from tests.contract.conftest import Server, connected


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RolloutStore]:
    if request.param == "memory":
        yield MemoryRollouts()
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


async def close(feed: AsyncIterator[Snapshot]) -> None:
    await feed.aclose()  # type: ignore[attr-defined]  # every adapter's `watch` is a generator


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
