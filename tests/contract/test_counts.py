"""What every `CountStore` promises."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from operator import attrgetter

import pytest
from valkey.asyncio import Valkey

from apx.backends.memory.counts import MemoryCounts
from apx.backends.valkey.connection import CALL_TIMEOUT_S
from apx.backends.valkey.counts import MOST_KEPT_PAIRS, PIECE, ValkeyCounts
from apx.errors import Unavailable
from apx.rollout.counts import MOST_PAIRS, PLAIN, By, Counts, CountStore
from tests.contract.conftest import Server, connected

RELEASE = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[CountStore]:
    if request.param == "memory":
        yield MemoryCounts()
        return
    async with connected(request.getfixturevalue("shared_server")) as client:
        await client.flushall()
        yield ValkeyCounts(client)


def seen(requests: int = 1, **more: int) -> Counts:
    return Counts(requests=requests, latency={}, **more)


async def counted(store: CountStore, product: str = "orders") -> dict[By, Counts]:
    return dict((await store.read(product, 0)).by)


async def test_a_fresh_store_has_counted_nothing(store: CountStore) -> None:
    assert await counted(store) == {}


async def test_what_was_written_is_read_by_release_and_org(store: CountStore) -> None:
    counts = {(RELEASE, "acme"): seen(3, denied=1), (RELEASE, "umbrella"): seen(2), (OTHER, "acme"): seen(1)}
    await store.write("router-1", {"orders": counts})
    assert await counted(store) == counts


async def test_every_field_is_read_back(store: CountStore) -> None:
    plain = {name: number for number, name in enumerate(PLAIN, 1)}
    everything = Counts(**plain, latency={0: 1, 17: 2**40, 100: 3})
    await store.write("router-1", {"orders": {(RELEASE, "acme"): everything}})
    assert await counted(store) == {(RELEASE, "acme"): everything}


async def test_what_several_processes_write_is_added_up(store: CountStore) -> None:
    by = {(RELEASE, "acme"): Counts(requests=2, answers=1, latency={3: 1, 4: 2})}
    more = {(RELEASE, "acme"): Counts(requests=1, errors=1, latency={4: 1, 9: 1})}
    await asyncio.gather(store.write("router-1", {"orders": by}), store.write("worker-1", {"orders": more}))
    expected = Counts(requests=3, answers=1, errors=1, latency={3: 1, 4: 3, 9: 1})
    assert await counted(store) == {(RELEASE, "acme"): expected}


async def test_products_are_counted_apart(store: CountStore) -> None:
    await store.write("router-1", {"orders": {(RELEASE, "acme"): seen(1)}, "exports": {(OTHER, "acme"): seen(2)}})
    assert await counted(store, "exports") == {(OTHER, "acme"): seen(2)}


@pytest.mark.parametrize("separator", [":", "|", "/", "\0", "\n", " ", '"', "\x92", "\xa0", "é", "…"])
async def test_names_with_a_separator_are_not_taken_for_others(store: CountStore, separator: str) -> None:
    names = [("a", f"b{separator}c"), (f"a{separator}b", "c"), (f"a{separator}", f"{separator}bc"), ("a", "b")]
    counts = {by: seen(number) for number, by in enumerate(names, 1)}
    await store.write("router-1", {"orders": counts, f"orders{separator}b": {("a", "c"): seen(9)}})
    assert await counted(store) == counts


async def test_a_digest_and_its_bytes_are_two_releases(store: CountStore) -> None:
    counts = {(RELEASE, "acme"): seen(1), (RELEASE.upper(), "acme"): seen(2), (RELEASE[7:], "acme"): seen(3)}
    await store.write("router-1", {"orders": counts})
    assert await counted(store) == counts


async def test_a_process_that_has_seen_nothing_is_known_to_write(store: CountStore) -> None:
    await store.write("router-1", {})
    await store.write("router-2", {"orders": {}})
    read = await store.read("orders", 0)
    assert read.writers.keys() == {"router-1", "router-2"}
    assert all(read.now_ms - 5000 < at <= read.now_ms for at in read.writers.values())


async def test_a_writer_that_has_left_is_not_waited_for(store: CountStore) -> None:
    await store.write("router-1", {})
    await store.write("router-2", {})
    await store.leave("router-1")
    await store.leave("never-there")
    assert (await store.read("orders", 0)).writers.keys() == {"router-2"}


async def test_a_span_that_is_over_holds_its_whole_seconds_alone(store: CountStore) -> None:
    now_ms = (await store.read("orders", 0)).now_ms
    await store.write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
    assert (await store.read("orders", 0, now_ms // 1000 * 1000)).by == {}
    assert (await store.read("orders", now_ms // 1000 * 1000 + 60_000)).by == {}


@pytest.mark.parametrize(("since_ms", "until_ms"), [(5000, 1000), (-5000, -1), (-(10**15), 0), (10**15, 10**15 + 9)])
async def test_a_span_that_holds_nothing_is_no_error(store: CountStore, since_ms: int, until_ms: int) -> None:
    await store.write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
    assert (await store.read("orders", since_ms, until_ms)).by == {}


async def test_what_was_read_is_the_readers_own(store: CountStore) -> None:
    await store.write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
    (await counted(store))[RELEASE, "acme"].requests = 99
    assert await counted(store) == {(RELEASE, "acme"): seen()}


async def test_many_pairs_are_written_at_once(store: CountStore) -> None:
    by = {(RELEASE, f"org-{n}"): Counts(requests=n, latency={n % 7: n}) for n in range(1, PIECE + 200)}
    await store.write("router-1", {f"product-{n}": {(RELEASE, "acme"): seen(n)} for n in range(1, 20)} | {"orders": by})
    assert await counted(store) == by
    assert await counted(store, "product-19") == {(RELEASE, "acme"): seen(19)}


async def test_orgs_beyond_the_bound_are_added_up_without_their_name(store: CountStore) -> None:
    by = {(RELEASE, f"org-{n}"): Counts(requests=1, latency={1: 1}) for n in range(MOST_PAIRS + 300)}
    for _ in range(2):
        await store.write("router-1", {"orders": by})
    read = await counted(store)
    assert sum(counts.requests for counts in read.values()) == 2 * len(by)
    assert sum(counts.latency[1] for counts in read.values()) == 2 * len(by)
    assert read[RELEASE, ""].requests >= 600


class TestOnValkey:
    """What only the adapter has: keys that end, and a server that goes."""

    async def test_everything_that_is_kept_ends(self, valkey: Valkey) -> None:
        await ValkeyCounts(valkey).write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
        ttl_s = {key.split(b":")[2]: await valkey.ttl(key) for key in await valkey.keys("apx:counts:[sm]:*")}
        assert 3600 < ttl_s[b"s"] < 4000
        assert 2 * 86400 < ttl_s[b"m"] < 2 * 86400 + 3600

    async def test_a_process_that_has_not_written_for_a_minute_drops_out(self, valkey: Valkey) -> None:
        store = ValkeyCounts(valkey)
        now_ms = (await store.read("orders", 0)).now_ms
        await valkey.zadd("apx:counts:writers", {"gone": now_ms - 61_000, "late": now_ms - 50_000})
        assert (await store.read("orders", 0)).writers.keys() == {"late"}
        await store.write("router-1", {})
        assert await valkey.zscore("apx:counts:writers", "gone") is None

    async def test_a_write_is_one_round_trip(self, valkey: Valkey) -> None:
        store = ValkeyCounts(valkey)
        await store.write("router-1", {})
        await valkey.config_resetstat()
        await store.write("router-1", {"orders": {(RELEASE, f"org-{n}"): seen() for n in range(PIECE)}})
        assert (await valkey.info("commandstats"))["cmdstat_evalsha"]["calls"] == 1

    async def test_minutes_that_are_over_are_read_once(self, valkey: Valkey) -> None:
        store, process = ValkeyCounts(valkey), "router-1"
        await store.write(process, {"orders": {(RELEASE, "acme"): seen()}})
        await _move_back(valkey, minutes=3)
        since_ms = (await store.read("exports", 0)).now_ms // 60_000 * 60_000 - 600_000
        first = await store.read("orders", since_ms)
        await valkey.config_resetstat()
        assert (await store.read("orders", since_ms)).by == first.by == {(RELEASE, "acme"): seen()}
        assert (await valkey.info("commandstats"))["cmdstat_hgetall"]["calls"] <= 3

    async def test_sums_that_are_kept_are_bounded(self, valkey: Valkey) -> None:
        store = ValkeyCounts(valkey)
        for number in range(40):
            pairs = {f"org {n}".encode(): Counts(latency={}) for n in range(MOST_KEPT_PAIRS // 10)}
            store._keep(("orders", number), number + 1, pairs)  # noqa: SLF001 -- what it keeps shows nowhere else
        assert len(store._kept) <= 10  # noqa: SLF001

    async def test_a_write_works_after_the_server_has_forgotten_the_script(self, valkey: Valkey) -> None:
        store = ValkeyCounts(valkey)
        await store.write("router-1", {})
        await valkey.script_flush()
        await store.write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
        assert await counted(store) == {(RELEASE, "acme"): seen()}

    @pytest.mark.parametrize("most_first", [True, False])
    async def test_versions_that_count_fewer_things_are_added_to_those_that_count_more(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, *, most_first: bool
    ) -> None:
        store, by = ValkeyCounts(valkey), {(RELEASE, "acme"): Counts(requests=1, errors=2, latency={3: 4})}
        for known in (PLAIN, PLAIN[:7]) if most_first else (PLAIN[:7], PLAIN):
            monkeypatch.setattr("apx.backends.valkey.counts.PLAIN", known)
            monkeypatch.setattr("apx.backends.valkey.counts._plain", attrgetter(*known))
            await store.write("router-1", {"orders": by})
        for known in (PLAIN, PLAIN[:7]):
            monkeypatch.setattr("apx.backends.valkey.counts.PLAIN", known)
            assert await counted(store) == {(RELEASE, "acme"): Counts(requests=2, errors=4, latency={3: 8})}

    async def test_a_server_that_is_away_is_unavailable(self, own_server: Server) -> None:
        async with connected(own_server) as client:
            store = ValkeyCounts(client)
            own_server.kill()
            for asked in (store.write("router-1", {}), store.read("orders", 0)):
                with pytest.raises(Unavailable):
                    await asked

    async def test_a_server_that_hangs_is_unavailable_in_bounded_time(self, own_server: Server) -> None:
        async with connected(own_server) as client:
            store = ValkeyCounts(client)
            await store.write("router-1", {})
            own_server.signal(signal.SIGSTOP)
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S + 2):
                    answers = await asyncio.gather(
                        store.write("router-1", {}), store.read("orders", 0), return_exceptions=True
                    )
                assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
            finally:
                own_server.signal(signal.SIGCONT)

    async def test_a_full_server_is_unavailable_and_adds_nothing(self, own_server: Server) -> None:
        async with connected(own_server) as client:
            store = ValkeyCounts(client)
            await store.write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
            await client.config_set("maxmemory", 1)
            with pytest.raises(Unavailable):
                await store.write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
            await client.config_set("maxmemory", 0)
            assert await counted(store) == {(RELEASE, "acme"): seen()}

    async def test_reading_goes_on_after_the_server_came_back(self, own_server: Server) -> None:
        async with connected(own_server) as client:
            store = ValkeyCounts(client)
            await store.write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
            own_server.kill()
            with pytest.raises(Unavailable):
                await store.read("orders", 0)
            own_server.start()
            await store.write("router-1", {"orders": {(RELEASE, "acme"): seen()}})
            assert (await counted(store))[RELEASE, "acme"].requests >= 1


async def _move_back(client: Valkey, minutes: int) -> None:
    """Let what was counted have happened earlier."""
    for key in await client.keys("apx:counts:[sm]:*"):
        apx, counts, kind, at, product = key.decode().split(":", 4)
        earlier = int(at) - minutes * (60 if kind == "s" else 1)
        await client.rename(key, f"{apx}:{counts}:{kind}:{earlier}:{product}")
