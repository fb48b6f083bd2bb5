from __future__ import annotations

import base64
import json
import time

import msgspec
import pytest

from apx.catalog.model import ProductSpec
from apx.clock import SystemClock
from apx.errors import Unavailable
from apx.requests.execution import Execution
from apx.requests.model import Result
from apx.rollout.counts import Tally
from tests.unit.worker.lanes import Lanes
from tests.unit.worker.scripted import Answer, ScriptedClient
from tests.unit.worker.world import QUICK, MemoryBlobs, World, delivery_of, envelope_for, eventually, spec_for

EVENTS = (("content-type", "text/event-stream"),)


@pytest.fixture
def streaming(world: World) -> World:
    world.spec = spec_for(world.url, streaming=True)
    return world


def pieces(world: World, kind: str = "chunk") -> list[str]:
    return [data for _, found, data in world.lanes.appended if found == kind]


async def test_each_event_of_the_backend_is_one_chunk_as_it_is(streaming: World) -> None:
    body = msgspec.json.encode({"text": "one two three"})
    envelope = await streaming.publish("/summaries", query="word_ms=1", body=body)
    async with streaming.working():
        result = await streaming.result_of(envelope)
    assert [json.loads(piece)["word"] for piece in pieces(streaming)[:-1]] == ["one", "two", "three"]
    assert pieces(streaming)[-1] == "[DONE]"
    assert result.body.decode() == "".join(f"data: {piece}\n\n" for piece in pieces(streaming))


async def test_a_chunk_is_there_soon_after_the_backend_said_it(streaming: World) -> None:
    await streaming.publish("/summaries", query="word_ms=2000", body=msgspec.json.encode({"text": "one two"}))
    async with streaming.working(drain_s=0.0):
        await eventually(streaming.received)
        began = time.monotonic()
        await eventually(lambda: pieces(streaming))
        assert time.monotonic() - began < 0.5
    assert streaming.lanes.results == {}


async def test_a_backend_that_does_not_stream_events_is_passed_on_as_text(streaming: World) -> None:
    envelope = await streaming.publish("/forecast/oslo")
    async with streaming.working():
        result = await streaming.result_of(envelope)
    assert "".join(pieces(streaming)) == result.body.decode()


async def test_a_large_stream_is_emitted_and_kept_whole(streaming: World) -> None:
    envelope = await streaming.publish("/null", query="x-demo-size=300000")
    async with streaming.working():
        result = await streaming.result_of(envelope)
    assert b"".join(map(base64.b64decode, pieces(streaming))) == b"x" * 300_000
    assert result.body_bytes == 300_000


async def test_a_product_that_does_not_stream_emits_nothing(world: World) -> None:
    envelope = await world.publish("/summaries", query="word_ms=1")
    async with world.working():
        await world.result_of(envelope)
    assert world.lanes.appended == []


async def test_a_failed_answer_is_not_emitted(streaming: World) -> None:
    envelope = await streaming.publish("/summaries", headers=(("x-demo-fail", "422"),))
    async with streaming.working():
        await streaming.result_of(envelope)
    assert streaming.lanes.appended == []


async def test_a_retry_says_restart_before_its_first_chunk(streaming: World) -> None:
    headers = (("x-demo-fail", "close,1"),)
    envelope = await streaming.publish("/summaries", query="word_ms=1", headers=headers)
    async with streaming.working():
        await streaming.result_of(envelope)
    assert [kind for _, kind, _ in streaming.lanes.appended][:2] == ["restart", "chunk"]
    assert len(pieces(streaming, "restart")) == 1


async def test_a_stream_that_is_handed_back_is_void(streaming: World) -> None:
    await streaming.publish("/summaries", query="word_ms=2000")
    async with streaming.working(drain_s=0.0) as worker:
        await eventually(lambda: pieces(streaming))
        worker.stop()
        await eventually(lambda: streaming.lanes.released)
    assert streaming.lanes.appended[-1][1] == "restart"


async def test_when_the_store_refuses_chunks_the_result_is_still_whole_and_readers_are_told() -> None:
    class Refusing(Lanes):
        refusals = 1

        async def append_event(self, request_id: str, kind: str, data: str) -> None:
            if self.appended and self.refusals:
                self.refusals -= 1
                raise Unavailable("away")
            await super().append_event(request_id, kind, data)

    lanes = Refusing()
    client = ScriptedClient(Answer(200, EVENTS, (b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n")))
    result = await _executed(client, lanes, spec_for("http://backend.example", streaming=True))
    assert result.body == b"data: 1\n\ndata: 2\n\ndata: 3\n\n"
    assert [(kind, data) for _, kind, data in lanes.appended] == [("chunk", "1"), ("restart", "")]


async def _executed(client: ScriptedClient, lanes: Lanes, spec: ProductSpec) -> Result:
    execution = Execution(client, lanes, MemoryBlobs(), clock=SystemClock(), chance=lambda: 0.5, tally=Tally())
    done = await execution.carry_out(delivery_of(envelope_for()), spec)
    assert done.settlement.result is not None
    assert spec.backend.retry == QUICK
    return done.settlement.result
