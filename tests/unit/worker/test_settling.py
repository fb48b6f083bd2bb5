"""What the store will never take must not stop what it will."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from apx.errors import ApxError, Misconfigured, Unavailable
from apx.requests.ports import Settled, Settlement
from services.worker.settling import Settler
from tests.unit.worker.lanes import Lanes
from tests.unit.worker.world import World, delivery_of, envelope_for, eventually


class Picky(Lanes):
    """Refuses settlements of some requests, as a store does whose answer nobody foresaw."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = set(refused)
        self.fault: ApxError | None = None

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        if self.fault is not None:
            raise self.fault
        if any(settlement.delivery.envelope.id in self.refused for settlement in settlements):
            raise RuntimeError("ERR unknown")
        return [Settled(counted=True) for _ in settlements]


def settlement(request_id: str) -> Settlement:
    return Settlement(delivery=delivery_of(envelope_for(id=request_id)), release=True)


async def test_a_settlement_that_is_refused_fails_alone() -> None:
    settler = Settler(Picky("bad"))
    answers = [settler.settle(settlement(name)) for name in ("one", "bad", "two")]
    found = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 5)
    assert found[::2] == [Settled(counted=True)] * 2
    assert isinstance(found[1], RuntimeError)


async def test_settling_goes_on_after_a_refusal() -> None:
    settler = Settler(Picky("bad"))
    with pytest.raises(RuntimeError):
        await settler.settle(settlement("bad"))
    assert await asyncio.wait_for(settler.settle(settlement("one")), 5) == Settled(counted=True)


@pytest.mark.parametrize("fault", [Unavailable("away"), Misconfigured("it keeps no log")])
async def test_a_store_that_cannot_take_anything_is_waited_for(fault: ApxError) -> None:
    bus = Picky()
    bus.fault = fault
    answer = Settler(bus).settle(settlement("one"))
    await asyncio.sleep(0.1)
    assert not answer.done()
    bus.fault = None
    assert await asyncio.wait_for(answer, 5) == Settled(counted=True)


async def test_renewing_goes_on_after_a_fault_that_nobody_foresaw(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, faults = world.lanes.extend, [RuntimeError("ERR unknown")]

    async def extend(deliveries: object) -> object:
        if faults:
            raise faults.pop()
        return await renew(deliveries)  # type: ignore[arg-type]  # whatever the worker gave

    monkeypatch.setattr(world.lanes, "extend", extend)
    envelope = await world.publish("/null", query="x-demo-delay-ms=600")
    async with world.working(lease_s=0.3):
        await eventually(lambda: world.lanes.extended)
        assert (await world.result_of(envelope)).state == "succeeded"
