from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec
import pytest

from apx.errors import Misconfigured, ReleaseRejected
from apx.requests import execution
from apx.requests.model import Delivery, Envelope, Result
from apx.requests.ports import ProductBounds
from apx.requests.specs import Terms
from tests.unit.worker.world import World, eventually, spec_for


async def test_a_request_gets_its_backends_answer(world: World) -> None:
    envelope = await world.publish("/orders", body=b'{"item": 1}')
    async with world.working():
        result = await world.result_of(envelope)
    assert (result.state, result.status, result.attempts) == ("succeeded", 201, 1)
    assert msgspec.json.decode(result.body)["received"] == {"item": 1}
    assert dict(result.headers)["content-type"].startswith("application/json")


async def test_requests_of_one_lane_are_called_in_order(world: World) -> None:
    published = [await world.publish("/null", body=str(n).encode()) for n in range(30)]
    async with world.working():
        await world.result_of(published[-1])
    assert [entry.body_text for entry in world.received()] == [str(n) for n in range(30)]


async def test_what_finishes_together_is_settled_together(world: World) -> None:
    published = [await world.publish("/null", org=f"org-{n}") for n in range(64)]
    async with world.working():
        for envelope in published:
            await world.result_of(envelope)
    assert max(world.lanes.settle_batches) > 1
    assert len(world.lanes.settle_batches) < 64


async def test_a_failure_is_tried_again_and_succeeds(world: World) -> None:
    envelope = await world.publish("/orders", headers=(("x-demo-fail", "503,2"),))
    async with world.working():
        result = await world.result_of(envelope)
    assert (result.state, result.attempts) == ("succeeded", 3)
    assert [entry.status for entry in world.received()] == [503, 503, 201]


async def test_a_closed_connection_is_tried_again(world: World) -> None:
    envelope = await world.publish("/orders", headers=(("x-demo-fail", "close,1"),))
    async with world.working():
        result = await world.result_of(envelope)
    assert (result.state, result.attempts) == ("succeeded", 2)


async def test_a_poison_request_is_buried_with_its_reason_and_the_lane_goes_on(world: World) -> None:
    poison = await world.publish("/orders", headers=(("x-demo-fail", "503"),))
    after = await world.publish("/orders")
    async with world.working():
        result = await world.result_of(poison)
        assert (await world.result_of(after)).state == "succeeded"
    assert (result.state, result.status, result.attempts) == ("failed", 503, 3)
    assert result.error is not None
    assert result.error.code == "backend-status"
    assert [(letter.id, letter.reason) for letter in world.lanes.letters] == [(poison.id, "backend-status")]


async def test_a_refusal_is_final_and_keeps_the_backends_answer(world: World) -> None:
    envelope = await world.publish("/orders", headers=(("x-demo-fail", "422"),))
    async with world.working():
        result = await world.result_of(envelope)
    assert (result.state, result.status, result.attempts) == ("failed", 422, 1)
    assert b"asked for" in result.body
    assert world.lanes.letters == []


async def test_a_large_body_goes_to_the_blob_store_piece_by_piece(world: World) -> None:
    envelope = await world.publish("/null", query="x-demo-size=3000000")
    async with world.working():
        result = await world.result_of(envelope)
    assert (result.body, result.body_bytes) == (b"", 3_000_000)
    assert result.blob is not None
    assert world.blobs.stored[result.blob] == b"x" * 3_000_000
    assert world.blobs.chunks > 5


@pytest.mark.parametrize("fault", ["x-demo-hang=head", "x-demo-hang=body", "x-demo-drip=100&x-demo-size=1000"])
async def test_a_backend_that_hangs_or_drips_is_left_at_the_timeout(world: World, fault: str) -> None:
    world.spec = spec_for(world.url, retry=msgspec.structs.replace(world.spec.backend.retry, attempts=1))
    envelope = await world.publish("/null", query=fault, timeout_s=0.3)
    began = time.monotonic()
    async with world.working():
        result = await world.result_of(envelope)
    assert time.monotonic() - began < 1.3
    assert result.error is not None
    assert result.error.code == "backend-timeout"
    await eventually(lambda: world.received()[0].outcome == "cancelled")


async def test_the_deadline_bounds_a_call_that_is_allowed_more(world: World) -> None:
    now_ms = int(time.time() * 1000)
    envelope = await world.publish("/null", query="x-demo-hang=head", deadline_ms=now_ms + 400, timeout_s=30.0)
    async with world.working():
        result = await world.result_of(envelope)
    assert result.finished_ms - now_ms < 1400
    assert result.state == "failed"


async def test_a_request_past_its_deadline_is_never_sent(world: World) -> None:
    envelope = await world.publish("/null", deadline_ms=int(time.time() * 1000) - 1)
    async with world.working():
        result = await world.result_of(envelope)
    assert (result.state, result.attempts) == ("expired", 0)
    assert world.received() == []


async def test_a_cancelled_request_closes_its_call_and_the_lane_goes_on(world: World) -> None:
    envelope = await world.publish("/exports")
    after = await world.publish("/null")
    async with world.working():
        await eventually(world.received)
        await world.lanes.put_if_absent(_cancelled(envelope.id))
        await eventually(lambda: world.received()[0].outcome == "cancelled")
        assert (await world.result_of(after)).state == "succeeded"
    assert world.lanes.results[envelope.id].state == "cancelled"


async def test_a_cancellation_that_is_told_closes_the_call_at_once(world: World) -> None:
    envelope = await world.publish("/exports")
    async with world.working(lease_s=60.0):
        await eventually(world.received)
        await world.lanes.put_if_absent(_cancelled(envelope.id))
        world.lanes.cancelled.put_nowait(envelope.id)
        await eventually(lambda: world.received()[0].outcome == "cancelled", within_s=0.8)


async def test_a_lost_lease_leaves_no_result(world: World) -> None:
    envelope = await world.publish("/null", query="x-demo-delay-ms=1500")
    async with world.working() as worker:
        await eventually(world.received)
        world.lanes.steal_leases()
        await eventually(lambda: worker.in_flight == 0)
    await eventually(lambda: world.received()[0].outcome == "cancelled")
    assert envelope.id not in world.lanes.results


@pytest.mark.parametrize("fault", [Misconfigured("the store refused this process"), RuntimeError("ERR unknown")])
async def test_a_bus_that_gives_nothing_for_a_reason_nobody_foresaw_ends_no_call(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    receive, faults = world.lanes.receive, [fault]

    async def refusing_once(worker: str, products: Sequence[ProductBounds], room: int) -> list[Delivery]:
        if faults and world.received():
            raise faults.pop()
        return await receive(worker, products, room)

    monkeypatch.setattr(world.lanes, "receive", refusing_once)
    under_way = await world.publish("/null", query="x-demo-delay-ms=500")
    async with world.working():
        await eventually(lambda: not faults)
        after = await world.publish("/null", org="globex")
        assert (await world.result_of(under_way)).state == "succeeded"
        assert (await world.result_of(after)).state == "succeeded"
    assert len(world.received()) == 2


async def test_a_request_that_comes_back_to_its_own_worker_is_carried_out_once_more_only(world: World) -> None:
    envelope = await world.publish("/null", query="x-demo-delay-ms=700")
    async with world.working(lease_s=60.0):
        await eventually(world.received)
        world.lanes.end_leases()
        result = await world.result_of(envelope)
    assert result.attempts == 2
    assert [entry.outcome for entry in world.received()] == ["cancelled", "finished"]


async def test_a_held_delivery_is_renewed_while_it_runs(world: World) -> None:
    envelope = await world.publish("/null", query="x-demo-delay-ms=500")
    async with world.working(lease_s=0.3):
        await world.result_of(envelope)
    assert world.lanes.extended >= 2


async def test_a_result_is_kept_while_the_store_is_away(world: World) -> None:
    envelope = await world.publish("/null", query="x-demo-delay-ms=100")
    async with world.working(lease_s=60.0):
        await eventually(world.received)
        world.lanes.away = True
        await eventually(lambda: world.received()[0].outcome == "finished")
        await asyncio.sleep(0.2)
        assert envelope.id not in world.lanes.results
        world.lanes.away = False
        assert (await world.result_of(envelope)).state == "succeeded"
    assert len(world.received()) == 1


async def test_a_worker_that_cannot_reach_the_bus_is_not_ready_and_recovers(world: World) -> None:
    async with world.working() as worker:
        await eventually(lambda: worker.ready)
        world.lanes.away = True
        await eventually(lambda: not worker.ready)
        world.lanes.away = False
        await eventually(lambda: worker.ready)


async def test_a_request_whose_release_is_missing_waits_and_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "IN_THE_WAY_S", 0.01)

    async def missing(envelope: Envelope) -> Terms:
        raise ReleaseRejected(f"{envelope.product} {envelope.release}: not signed")

    world.terms = missing  # type: ignore[method-assign]  # the part that fails
    envelope = await world.publish("/null")
    async with world.working():
        await eventually(lambda: world.lanes.released)
        assert envelope.id not in world.lanes.results
        del world.terms
        assert (await world.result_of(envelope)).attempts == 1


async def test_draining_finishes_what_is_under_way_and_takes_no_more(world: World) -> None:
    first = await world.publish("/null", query="x-demo-delay-ms=300")
    second = await world.publish("/null")
    worker = world.worker()
    task = asyncio.create_task(worker.run())
    await eventually(world.received)
    worker.stop()
    await task
    assert world.lanes.results[first.id].state == "succeeded"
    assert second.id not in world.lanes.results


async def test_draining_hands_back_what_does_not_finish(world: World) -> None:
    envelope = await world.publish("/exports")
    worker = world.worker(drain_s=0.2)
    task = asyncio.create_task(worker.run())
    await eventually(world.received)
    worker.stop()
    await asyncio.wait_for(task, 2)
    assert world.lanes.released == [envelope.id]
    assert envelope.id not in world.lanes.results


async def test_a_request_that_killed_three_workers_is_quarantined_without_being_sent(world: World) -> None:
    world.spec = spec_for(world.url, retry=msgspec.structs.replace(world.spec.backend.retry, attempts=10))
    envelope = await world.publish("/null")
    for _ in range(3):
        await world.lanes.receive("doomed", world.bounds(), 1)
        world.lanes.end_leases()
    async with world.working():
        result = await world.result_of(envelope)
    assert result.error is not None
    assert (result.state, result.error.code) == ("failed", "quarantined")
    assert [letter.reason for letter in world.lanes.letters] == ["quarantined"]
    assert world.received() == []


def _cancelled(request_id: str) -> Result:
    return Result(
        id=request_id,
        org="acme",
        product="orders",
        release="sha256:00",
        state="cancelled",
        accepted_ms=0,
        finished_ms=0,
    )
