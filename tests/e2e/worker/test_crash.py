"""Workers that are killed, on a real store: no request is lost, none ends twice, none is called under two ids."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.connection import connect
from apx.backends.valkey.results import ValkeyResults
from apx.requests.model import Envelope, Result
from examples.demo_backend.record import Entry, Record
from examples.demo_backend.server import serving
from tests.contract.conftest import Server
from tests.e2e.worker.processes import running
from tests.unit.worker.world import envelope_for, eventually

pytestmark = pytest.mark.e2e

KILLS = 2
"""One fewer than the attempts of a request: none of them has run out."""


@pytest.fixture
def store() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="apx-") as folder:
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


class Scene:
    """A store, a demo backend, and a client of the bus."""

    def __init__(self, url: str, port: int, record: Record, bus: ValkeyBus, results: ValkeyResults) -> None:
        self.url = url
        self.port = port
        self.record = record
        self.bus = bus
        self.results = results

    def received(self) -> list[Entry]:
        return msgspec.json.Decoder(Entry).decode_lines(self.record.page(0, 100_000))

    async def result_of(self, envelope: Envelope) -> Result:
        result = await self.results.wait(envelope.id, 30)
        assert isinstance(result, Result), f"{envelope.id} has no result"
        return result

    def worker(self) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        return running("real_worker", self.url, str(self.port))


@pytest.fixture
async def scene(store: Server) -> AsyncIterator[Scene]:
    client, record = connect(store.url), Record()
    bus, results = ValkeyBus(client), ValkeyResults(client)
    async with serving(record=record) as port:
        yield Scene(store.url, port, record, bus, results)
    await bus.aclose()
    await results.aclose()
    await client.aclose()


async def publish(scene: Scene, count: int, query: str) -> list[Envelope]:
    envelopes = [envelope_for(f"/forecast/{n}", query=query, org=f"org-{n % 10}") for n in range(count)]
    for envelope in envelopes:
        await scene.bus.publish(envelope)
    return envelopes


async def kill_one_mid_call(scene: Scene, calls: int = 5) -> None:
    before = len(scene.received())
    async with scene.worker() as worker:
        await eventually(lambda: len(scene.received()) >= before + calls, within_s=20)
        worker.kill()


async def test_every_request_ends_once_while_workers_are_killed_mid_call(scene: Scene) -> None:
    envelopes = await publish(scene, 60, "x-demo-delay-ms=60")
    for _ in range(KILLS):
        await kill_one_mid_call(scene)
    async with scene.worker():
        results = [await scene.result_of(envelope) for envelope in envelopes]
    assert Counter(result.state for result in results) == {"succeeded": 60}
    sent = Counter(dict(entry.headers)["idempotency-key"] for entry in scene.received())
    assert set(sent) == {envelope.id for envelope in envelopes}
    assert await scene.bus.depth() == {}


async def test_requests_that_have_cost_all_their_attempts_are_buried_and_not_sent_again(scene: Scene) -> None:
    (envelope,) = await publish(scene, 1, "x-demo-hang=head")
    for _ in range(3):
        await kill_one_mid_call(scene, calls=1)
    async with scene.worker():
        result = await scene.result_of(envelope)
    assert result.state == "failed"
    assert [letter.envelope.id for letter in await scene.bus.dead_letters()] == [envelope.id]
    assert len(scene.received()) == 3


async def test_one_orgs_requests_are_begun_in_order_though_workers_are_killed(scene: Scene) -> None:
    envelopes = [envelope_for(f"/forecast/{n}", query="x-demo-delay-ms=30") for n in range(20)]
    for envelope in envelopes:
        await scene.bus.publish(envelope)
    async with scene.worker() as worker:
        await eventually(lambda: len(scene.received()) > 5, within_s=20)
        worker.kill()
    async with scene.worker():
        await scene.result_of(envelopes[-1])
    begun = [int(entry.path.rpartition("/")[2]) for entry in scene.received()]
    assert begun == sorted(begun)
    assert set(begun) == set(range(20))


async def test_a_worker_that_is_told_to_stop_loses_nothing(scene: Scene) -> None:
    envelopes = await publish(scene, 30, "x-demo-delay-ms=60")
    async with scene.worker() as worker:
        await eventually(lambda: len(scene.received()) > 5, within_s=20)
        worker.terminate()
        assert await asyncio.wait_for(worker.wait(), 15) == 0
    async with scene.worker():
        results = [await scene.result_of(envelope) for envelope in envelopes]
    assert {(result.state, result.attempts) for result in results} == {("succeeded", 1)}
    assert len(scene.received()) == 30
