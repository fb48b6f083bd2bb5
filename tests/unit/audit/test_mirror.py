"""Rollouts come into the log once each, in their order, whatever happens to who copies them."""

from __future__ import annotations

import asyncio

import msgspec

from apx.audit.mirror import Mirror
from apx.backends.memory.audit import MemoryAudit
from apx.backends.memory.rollouts import MemoryRollouts
from apx.rollout.active import Active, AuditEntry
from tests.unit.admission.until import until


class World:
    def __init__(self) -> None:
        self.rollouts, self.log = MemoryRollouts(), MemoryAudit()
        self.active = Active(product="orders", stable="sha256:0")

    async def change(self, count: int = 1) -> None:
        for _ in range(count):
            before = self.active
            after = f"sha256:{before.revision + 1}"
            event = AuditEntry(
                at_ms=7,
                actor="ann",
                action="promote",
                product="orders",
                before=before.stable,
                after=after,
                why="because",
                rollout="orders-1",
                state="stable",
                source="10.0.0.1",
            )
            self.active = await self.rollouts.change(msgspec.structs.replace(before, stable=after), event)

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(Mirror(self.rollouts, self.log).run())

    async def mirrored(self, count: int) -> list[str]:
        await until(lambda: len(self.log._entries) >= count)  # noqa: SLF001 -- the fake's own
        return [one.origin for one in await self.log.read()]


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_change_of_a_rollout_is_mirrored_whole() -> None:
    world = World()
    await world.change()
    mirror = world.start()
    await world.mirrored(1)
    (entry,) = await world.log.read()
    assert (entry.action, entry.actor, entry.source, entry.why) == ("rollout-promote", "ann", "10.0.0.1", "because")
    assert (entry.subject, entry.product, entry.done_ms) == ("rollout orders-1", "orders", 7)
    assert (entry.before, entry.after) == ("sha256:0", "sha256:1 stable")
    await stop(mirror)


async def test_a_mirror_that_is_killed_is_followed_by_one_that_goes_on() -> None:
    world = World()
    await world.change(3)
    first = world.start()
    await world.mirrored(1)
    await stop(first)
    await world.change(3)
    second = world.start()
    assert await world.mirrored(6) == [str(n) for n in range(1, 7)]
    await stop(second)


async def test_of_several_mirrors_each_event_is_appended_by_one() -> None:
    world = World()
    mirrors = [world.start() for _ in range(4)]
    for _ in range(20):
        await world.change()
        await asyncio.sleep(0)
    assert await world.mirrored(20) == [str(n) for n in range(1, 21)]
    await asyncio.sleep(0.05)
    assert (await world.log.head()).number == 20
    await stop(*mirrors)
