"""What the Valkey adapters keep up when the server hangs, dies, forgets its scripts or is set up wrongly."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import pytest
from valkey.asyncio import Valkey

from apx.admission.keys import KeyRecord
from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.connection import CALL_TIMEOUT_S, Script, connect
from apx.backends.valkey.keys import ValkeyKeys
from apx.backends.valkey.notices import Notices
from apx.backends.valkey.results import ValkeyResults
from apx.backends.valkey.rollouts import ValkeyRollouts
from apx.errors import Misconfigured, Unavailable
from apx.requests.model import Delivery, Result
from apx.requests.ports import ProductBounds
from apx.rollout.active import Active, AuditEntry

from .conftest import Server, connected, until
from .requests_examples import BOUNDS, done, envelope, result, take, take_one

BOUND_S = 2 * CALL_TIMEOUT_S + 2.0
"""Two tries, and a slow machine."""


class Process:
    """The adapters as one process has them."""

    def __init__(self, client: Valkey, lease_s: float = 2.0) -> None:
        self.bus = ValkeyBus(client, lease_s=lease_s, idle_s=0.2)
        self.results = ValkeyResults(client)

    async def aclose(self) -> None:
        await self.bus.aclose()
        await self.results.aclose()


@pytest.fixture
async def process(own_server: Server) -> AsyncIterator[Process]:
    async with connected(own_server) as client:
        opened = Process(client)
        yield opened
        await opened.aclose()


async def test_a_hung_server_is_unavailable_in_bounded_time(own_server: Server, process: Process) -> None:
    await process.bus.publish(envelope())
    delivery = await take_one(process.bus)
    own_server.signal(signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    try:
        calls = [
            process.bus.publish(envelope()),
            process.bus.receive("w", BOUNDS, 1),
            process.bus.settle([done(delivery)]),
            process.bus.extend([delivery]),
            process.bus.dead_letters(),
            process.results.get("req_x"),
            process.results.wait("req_x", 30),
            process.results.put_if_absent(result(envelope(), "cancelled")),
            process.results.append_event("req_x", "chunk", "a"),
        ]
        start = loop.time()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * len(calls)
        assert loop.time() - start < BOUND_S
    finally:
        own_server.signal(signal.SIGCONT)


async def test_a_thousand_calls_to_a_hung_server_fail_together(own_server: Server, process: Process) -> None:
    await process.bus.publish(envelope())
    own_server.signal(signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    try:
        start = loop.time()
        publishing = (process.bus.publish(envelope()) for _ in range(1000))
        answers = await asyncio.gather(*publishing, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
        assert loop.time() - start < BOUND_S
    finally:
        own_server.signal(signal.SIGCONT)


async def test_a_publish_that_was_retried_through_a_hang_is_queued_once(own_server: Server, process: Process) -> None:
    await process.bus.publish(envelope())
    await process.bus.settle([done(await take_one(process.bus))])
    request = envelope()
    own_server.signal(signal.SIGSTOP)
    publishing = asyncio.create_task(process.bus.publish(request))
    await asyncio.wait(
        [publishing], timeout=CALL_TIMEOUT_S + 0.3
    )  # the first try has timed out, the second is under way
    own_server.signal(signal.SIGCONT)
    assert (await publishing).outcome == "accepted"
    assert await process.bus.depth() == {("orders", "acme"): 1}


async def test_a_batch_that_was_given_up_cannot_arrive_late(valkey: Valkey) -> None:
    publish = Script(valkey, "publish", prelude="lanes")
    item = (0, "orders", "acme", "orders:acme:org", "req_1", b"req_1 x", "", "", 1, 10, 0, "c")
    await publish("producer", 2, *item)
    with pytest.raises(Exception, match="STALE"):
        await publish("producer", 1, *item)
    assert await publish("producer", 2, *item) == [b"a"]
    assert await valkey.hgetall("apx:q:depth") == {b"orders:acme": b"1"}  # type: ignore[misc]


async def test_a_result_that_cannot_be_read_fails_nobody_elses_poll(valkey: Valkey) -> None:
    results = ValkeyResults(valkey)
    good, bad = envelope(), envelope()
    written = await results.put_if_absent(result(good))
    await valkey.set(f"apx:res:{bad.id}", b"0\n\xc1")
    reads = await asyncio.gather(results.get(bad.id), results.get(good.id), return_exceptions=True)
    writes = await asyncio.gather(*(results.put_if_absent(result(one)) for one in (bad, good)), return_exceptions=True)
    for at_bad, at_good in (reads, writes):
        assert isinstance(at_bad, msgspec.DecodeError)
        assert at_good == written
    await results.aclose()


async def test_scripts_are_loaded_again_when_the_server_forgot_them(valkey: Valkey) -> None:
    process = Process(valkey)
    await process.bus.publish(envelope())
    await valkey.script_flush()
    await process.bus.publish(envelope())
    assert await take_one(process.bus)  # type: ignore[truthy-bool]
    await process.aclose()


async def test_waiting_goes_on_through_a_restart(own_server: Server, process: Process) -> None:
    request = envelope()
    await process.bus.publish(request)
    delivery = await take_one(process.bus)
    waiting = asyncio.create_task(process.results.wait(request.id, 20))
    await asyncio.wait([waiting], timeout=0.1)
    own_server.kill()
    own_server.start()

    async def settled() -> bool:
        with suppress(Unavailable):
            return (await process.bus.settle([done(delivery)]))[0].counted
        return False

    await until(settled)
    assert isinstance(await waiting, Result)


class Ledger:
    """What clients and workers have seen, kept outside the store."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.accepted: list[str] = []
        self.counted: Counter[str] = Counter()
        self.publishing = True

    async def publish(self, org: str) -> None:
        while self.publishing:
            with suppress(Unavailable):
                published = await self.process.bus.publish(envelope(org=org))
                assert published.outcome == "accepted"
                self.accepted.append(published.id)
            await asyncio.sleep(0)

    async def work(self, name: str) -> None:
        deliveries: list[Delivery] = []
        while deliveries or self.publishing or await self._left():
            with suppress(Unavailable):
                deliveries = deliveries or await self.process.bus.receive(name, BOUNDS, 8)
                settled = await self.process.bus.settle([done(d, take_next=True) for d in deliveries])
                self.counted.update(d.envelope.id for d, s in zip(deliveries, settled, strict=True) if s.counted)
                deliveries = [s.next for s in settled if s.next is not None]

    async def _left(self) -> bool:
        with suppress(Unavailable):
            return bool(await self.process.bus.depth())
        return True

    async def has_accepted(self, count: int) -> bool:
        return len(self.accepted) >= count

    async def has_counted(self, count: int) -> bool:
        return len(self.counted) >= count

    async def check(self) -> None:
        """Each accepted request has one result, and no result was counted twice."""
        found = await asyncio.gather(*(self.process.results.get(i) for i in self.accepted))
        assert [i for i, r in zip(self.accepted, found, strict=True) if not isinstance(r, Result)] == []
        assert len(set(self.accepted)) == len(self.accepted)
        assert max(self.counted.values()) == 1


async def test_nothing_accepted_is_lost_when_the_server_is_killed(own_server: Server, process: Process) -> None:
    ledger = Ledger(process)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(ledger.publish(f"org{number}"))
        for _ in range(3):
            count = len(ledger.accepted) + 200
            await until(lambda: ledger.has_accepted(count), 20)  # noqa: B023 -- asked within the turn
            own_server.kill()
            own_server.start()
        ledger.publishing = False
        tasks.create_task(ledger.work("w1"))
        tasks.create_task(ledger.work("w2"))
    await ledger.check()


async def test_workers_go_on_when_the_server_is_killed(own_server: Server, process: Process) -> None:
    ledger = Ledger(process)
    sent = [envelope(org=f"org{n % 5}", lane=str(n % 20)) for n in range(1500)]
    await asyncio.gather(*(process.bus.publish(e) for e in sent))
    ledger.accepted, ledger.publishing = [e.id for e in sent], False
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(ledger.work("w1"))
        tasks.create_task(ledger.work("w2"))
        for count in (300, 600, 900):
            await until(lambda: ledger.has_counted(count), 20)  # noqa: B023 -- asked within the turn
            own_server.kill()
            own_server.start()
    await ledger.check()


async def test_a_store_without_a_log_is_refused(own_server: Server, process: Process) -> None:
    async with connected(own_server) as client:
        await client.config_set("appendonly", "no")
        with pytest.raises(Misconfigured, match="appendonly"):
            await process.bus.publish(envelope())


async def test_a_store_that_syncs_late_is_asked_for_its_sync(own_server: Server) -> None:
    async with connected(own_server) as client:
        await client.config_set("appendfsync", "everysec")
        process = Process(client)
        assert (await process.bus.publish(envelope())).outcome == "accepted"
        calls = await client.info("commandstats")
        assert calls["cmdstat_waitaof"]["calls"] >= 1
        await process.aclose()


@pytest.mark.parametrize("change", ["a key", "a revocation", "a live release"])
async def test_what_operators_change_is_synced_before_they_hear_of_it(own_server: Server, change: str) -> None:
    async with connected(own_server) as client:
        keys, key = ValkeyKeys(client), KeyRecord(id="k", sha256="00", org="acme", region="eu", plans={}, created_ms=0)
        await keys.put(key)
        await client.config_set("appendfsync", "everysec")
        await client.config_resetstat()
        if change == "a key":
            await ValkeyKeys(client).put(key)
        elif change == "a revocation":
            await ValkeyKeys(client).revoke("k")
        else:
            audit = AuditEntry(at_ms=0, actor="me", action="activate", product="orders", before=None, after="sha256:00")
            await ValkeyRollouts(client).change(Active(product="orders", stable="sha256:00"), audit)
        assert (await client.info("commandstats"))["cmdstat_waitaof"]["calls"] >= 1


async def test_an_idle_worker_is_woken_at_once(valkey: Valkey) -> None:
    idle, process = ValkeyBus(valkey, idle_s=30), Process(valkey)
    receiving = asyncio.create_task(idle.receive("idle", BOUNDS, 1))
    await asyncio.wait([receiving], timeout=0.2)
    async with asyncio.timeout(5):
        await process.bus.publish(envelope())
        assert len(await receiving) == 1
    await idle.aclose()
    await process.aclose()


async def test_an_idle_worker_is_woken_when_a_bound_gives_way(valkey: Valkey) -> None:
    one_at_a_time = (ProductBounds("orders", 1, 1),)
    idle, process = ValkeyBus(valkey, idle_s=30), Process(valkey, lease_s=30)
    for lane in ("a", "b"):
        await process.bus.publish(envelope(lane=lane))
    [delivery] = await process.bus.receive("w", one_at_a_time, 1)
    receiving = asyncio.create_task(idle.receive("idle", one_at_a_time, 1))
    await asyncio.wait([receiving], timeout=0.2)
    async with asyncio.timeout(5):
        await process.bus.settle([done(delivery)])
        assert len(await receiving) == 1
    await idle.aclose()
    await process.aclose()


async def test_an_idle_bus_leaves_nothing_behind(valkey: Valkey) -> None:
    process = Process(valkey)
    for number in range(200):
        await process.bus.publish(envelope(org=f"org{number % 7}", lane=str(number)))
    while deliveries := await process.bus.receive("w", BOUNDS, 50):
        await process.bus.settle([done(d) for d in deliveries])
    left = {key.split(b":")[2] for key in await valkey.keys("apx:q:*")}
    assert left == {b"fence", b"bounds", b"producer"}
    await process.aclose()


async def test_listening_outlives_a_fault_that_nobody_foresaw(valkey: Valkey) -> None:
    faults = [KeyError("a bug")]

    class Faulty(Notices):
        def _hear(self, reply: object) -> None:
            if faults:
                raise faults.pop()
            super()._hear(reply)

    notices = Faulty(valkey)
    async with notices.listen("apx:test") as listener:
        await valkey.publish("apx:test", "told")
        assert await listener.wait(5)
    await notices.aclose()


async def test_one_receive_costs_the_same_with_many_lanes_waiting(valkey: Valkey) -> None:
    process = Process(valkey)
    commands: list[int] = []
    for waiting in (10, 3000):
        await valkey.flushall()
        publishing = (process.bus.publish(envelope(org=f"org{n}", lane=str(n))) for n in range(waiting))
        await asyncio.gather(*publishing)
        await take(process.bus, room=1)
        await valkey.config_resetstat()
        await take(process.bus, room=1)
        stats = await valkey.info("commandstats")
        commands.append(sum(stat["calls"] for stat in stats.values()))
    assert abs(commands[0] - commands[1]) <= 2
    await process.aclose()


@pytest.mark.parametrize("url", ["http://x", "localhost:6379", "", "file:///x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured):
        connect(url)


def test_a_refused_address_does_not_show_its_password() -> None:
    with pytest.raises(Misconfigured) as refused:
        connect("http://user:canary@host/0")
    assert "canary" not in str(refused.value)


async def test_a_server_that_is_not_there_is_unavailable_soon(tmp_path_factory: pytest.TempPathFactory) -> None:
    client = connect(f"unix://{tmp_path_factory.mktemp('none')}/s.sock")
    bus = ValkeyBus(client)
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(Unavailable):
        await bus.publish(envelope())
    assert loop.time() - start < BOUND_S
    await bus.aclose()
    await client.aclose()
