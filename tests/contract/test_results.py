"""What every `ResultStore` promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from apx.requests.model import Event, Progress, Result
from apx.requests.ports import Bus, ResultStore, Settlement

from .conftest import until
from .requests_examples import done, envelope, result, take_one


async def collect(stream: AsyncIterator[Event]) -> list[Event]:
    async with asyncio.timeout(5):
        return [event async for event in stream]


def states(events: list[Event]) -> list[str]:
    return [json.loads(event.data)["state"] for event in events if event.kind == "state"]


class TestResults:
    async def test_nothing_is_known_of_an_unknown_id(self, results: ResultStore) -> None:
        assert await results.get("req_nobody") is None

    async def test_a_running_request_says_so(self, bus: Bus, results: ResultStore) -> None:
        await bus.publish(envelope())
        delivery = await take_one(bus)
        progress = await results.get(delivery.envelope.id)
        assert isinstance(progress, Progress)
        assert (progress.state, progress.attempt) == ("running", 1)
        assert progress.started_ms is not None

    async def test_a_request_that_waits_for_its_next_attempt_says_so(self, bus: Bus, results: ResultStore) -> None:
        await bus.publish(envelope())
        delivery = await take_one(bus)
        await bus.settle([Settlement(delivery=delivery, retry_after_s=60)])
        assert await results.get(delivery.envelope.id) == Progress(state="accepted", attempt=1)

    async def test_a_result_is_read_as_it_was_written(self, bus: Bus, results: ResultStore) -> None:
        await bus.publish(envelope())
        delivery = await take_one(bus)
        written = result(delivery, body=b"\x00\xff\n", status=200, headers=(("content-type", "x"),), body_bytes=3)
        await bus.settle([Settlement(delivery=delivery, result=written)])
        assert await results.get(written.id) == written

    async def test_the_first_result_stands(self, results: ResultStore) -> None:
        request = envelope()
        first, second = result(request, "cancelled"), result(request, "expired")
        assert await results.put_if_absent(first) == first
        assert await results.put_if_absent(second) == first
        assert await results.get(request.id) == first

    async def test_a_result_is_kept_for_its_retention_and_then_gone(self, results: ResultStore) -> None:
        request = envelope()
        loop = asyncio.get_running_loop()
        start = loop.time()
        await results.put_if_absent(result(request, retention_s=1.0))

        async def gone() -> bool:
            return await results.get(request.id) is None

        await until(gone)
        assert loop.time() - start >= 0.99


class TestWait:
    async def test_waiting_ends_with_the_result(self, bus: Bus, results: ResultStore) -> None:
        await bus.publish(envelope())
        delivery = await take_one(bus)
        waiting = asyncio.create_task(results.wait(delivery.envelope.id, 10))
        loop = asyncio.get_running_loop()
        await asyncio.wait([waiting], timeout=0.05)
        settled_at = loop.time()
        await bus.settle([done(delivery)])
        assert isinstance(await waiting, Result)
        assert loop.time() - settled_at < 0.2

    async def test_waiting_for_a_result_that_is_there_is_immediate(self, results: ResultStore) -> None:
        request = envelope()
        await results.put_if_absent(result(request))
        assert isinstance(await results.wait(request.id, 60), Result)

    async def test_waiting_ends_after_its_time_with_what_is_known(self, results: ResultStore) -> None:
        assert await results.wait("req_nobody", 0.05) is None

    async def test_a_thousand_wait_at_once(self, results: ResultStore) -> None:
        ids = [envelope().id for _ in range(1000)]
        waiting = [asyncio.create_task(results.wait(i, 20)) for i in ids]
        for request_id in ids:
            await results.put_if_absent(result(envelope(id=request_id)))
        assert {r.id for r in await asyncio.gather(*waiting) if isinstance(r, Result)} == set(ids)


class TestEvents:
    async def test_pieces_come_in_order_and_end_with_the_state(self, bus: Bus, results: ResultStore) -> None:
        await bus.publish(envelope())
        delivery = await take_one(bus)
        for piece in "abc":
            await results.append_event(delivery.envelope.id, "chunk", piece)
        await bus.settle([done(delivery)])
        events = await collect(results.events(delivery.envelope.id))
        assert [event.data for event in events if event.kind == "chunk"] == ["a", "b", "c"]
        assert events[-1].kind == "state"
        assert json.loads(events[-1].data) == {"state": "succeeded"}

    async def test_a_subscriber_hears_as_it_happens(self, bus: Bus, results: ResultStore) -> None:
        await bus.publish(envelope())
        delivery = await take_one(bus)
        stream = results.events(delivery.envelope.id)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            assert states([await anext(stream)]) == ["running"]
            for piece in "abc":
                waiting = asyncio.ensure_future(anext(stream))
                await asyncio.wait([waiting], timeout=0.02)
                sent = loop.time()
                await results.append_event(delivery.envelope.id, "chunk", piece)
                assert (await waiting).data == piece
                assert loop.time() - sent < 0.2
            await bus.settle([done(delivery)])
            assert states([event async for event in stream]) == ["succeeded"]

    async def test_a_subscriber_before_the_start_hears_it_too(self, bus: Bus, results: ResultStore) -> None:
        request = envelope()
        await bus.publish(request)
        collecting = asyncio.create_task(collect(results.events(request.id)))
        await asyncio.wait([collecting], timeout=0.05)
        delivery = await take_one(bus)
        await results.append_event(request.id, "chunk", "a")
        await bus.settle([done(delivery)])
        assert [event.data for event in await collecting if event.kind == "chunk"] == ["a"]

    async def test_a_stream_resumes_after_any_event(self, bus: Bus, results: ResultStore) -> None:
        await bus.publish(envelope())
        delivery = await take_one(bus)
        for number in range(450):
            await results.append_event(delivery.envelope.id, "chunk", str(number))
        await bus.settle([done(delivery)])
        whole = await collect(results.events(delivery.envelope.id))
        for place in (0, 1, 199, 200, 449, len(whole) - 2, len(whole) - 1):
            rest = await collect(results.events(delivery.envelope.id, after=whole[place].id))
            assert [e for e in rest if e.kind == "chunk"] == [e for e in whole[place + 1 :] if e.kind == "chunk"]

    async def test_a_foreign_event_id_begins_at_the_beginning(self, results: ResultStore) -> None:
        request = envelope()
        await results.append_event(request.id, "chunk", "a")
        await results.put_if_absent(result(request))
        for foreign in ("x", "-1", "1-1-1", "9" * 200, "\u0661"):
            assert "a" in {event.data for event in await collect(results.events(request.id, after=foreign))}

    async def test_a_stream_is_bounded_and_drops_the_oldest(self, results: ResultStore) -> None:
        request = envelope()
        await asyncio.gather(*(results.append_event(request.id, "chunk", str(n)) for n in range(1200)))
        await results.put_if_absent(result(request))
        chunks = [e.data for e in await collect(results.events(request.id)) if e.kind == "chunk"]
        assert chunks[-1] == "1199"
        assert len(chunks) <= 1000

    async def test_nothing_follows_the_terminal_state(self, results: ResultStore) -> None:
        request = envelope()
        await results.put_if_absent(result(request, "cancelled"))
        await results.append_event(request.id, "chunk", "late")
        events = await collect(results.events(request.id))
        assert states(events) == ["cancelled"]
        assert [e.kind for e in events] == ["state"]

    async def test_a_new_attempt_is_heard(self, bus: Bus, results: ResultStore) -> None:
        await bus.publish(envelope())
        delivery = await take_one(bus)
        await results.append_event(delivery.envelope.id, "chunk", "half")
        await bus.settle([Settlement(delivery=delivery, retry_after_s=0)])
        second = await take_one(bus)
        await results.append_event(delivery.envelope.id, "restart", "")
        await results.append_event(delivery.envelope.id, "chunk", "whole")
        await bus.settle([done(second)])
        events = await collect(results.events(delivery.envelope.id))
        assert [(e.kind, e.data) for e in events if e.kind != "state"] == [
            ("chunk", "half"),
            ("restart", ""),
            ("chunk", "whole"),
        ]
