"""Rollouts moved by the real controller on a real store: to their end, through faults, and never without evidence."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apx.backends.files.releases import FileReleaseStore
from apx.backends.memory.counts import MemoryCounts
from apx.backends.memory.githost import MemoryGit
from apx.backends.valkey.counts import ValkeyCounts
from apx.backends.valkey.rollouts import ValkeyRollouts
from apx.catalog.model import Judge, RolloutSpec, Shadow, Step
from apx.clock import ManualClock
from apx.errors import Conflict, ReleaseRejected, Unavailable
from apx.release.load import Loader
from apx.rollout.actions import Wish, move, rollback, start
from apx.rollout.active import Active
from apx.rollout.controller import Controller
from apx.rollout.counts import Counts, CountStore, bucket
from apx.rollout.model import Rollout
from tests.contract.conftest import Server, connected
from tests.unit.release.examples import TRUSTED, manifest, spec, stored

QUICK = RolloutSpec(
    steps=(Step(weight_percent=25, hold_s=0), Step(weight_percent=50, hold_s=0)),
    shadow=Shadow(hold_s=0.01),
    judge=Judge(),
    max_hold_s=60,
)
OTHER = b"\0asm-other"
ORGS = [f"org-{number}" for number in range(8)]


class World:
    """A product with a stable release, a candidate, and whoever moves its rollout."""

    def __init__(self, folder: Path, rollouts: ValkeyRollouts, counts: CountStore) -> None:
        self.folder = folder
        self.rollouts, self.counts = rollouts, counts
        self.releases = FileReleaseStore(folder)
        self.loader = Loader(self.releases, TRUSTED)
        self.git = MemoryGit()
        self.stable = self.candidate = ""

    async def open(self, **changes: Any) -> None:
        rollout = msgspec.structs.replace(QUICK, **changes)
        self.stable = await stored(self.folder, manifest("orders", spec(title="N-1")))
        self.candidate = await stored(self.folder, manifest("orders", spec(title="N", rollout=rollout)))
        await start(self.rollouts, self.loader, [Wish(digest=self.stable)], actor="me")

    def controller(self, counts: CountStore | None = None) -> Controller:
        """Return one as a process that has just begun has it."""
        return Controller(self.rollouts, counts or self.counts, self.releases, self.loader, self.git)

    async def begin(self, **wish: Any) -> None:
        (started,) = await start(self.rollouts, self.loader, [Wish(digest=self.candidate)], actor="me", **wish)
        assert started.outcome == "started", started

    async def active(self) -> Active:
        return (await self.rollouts.read()).products["orders"]

    async def rollout(self) -> Rollout:
        rollout = (await self.active()).rollout
        assert rollout is not None
        return rollout

    async def seen(self, *, bad: float = 0.0, requests: int = 100, release: str = "") -> None:
        """Let each org send requests that a release answers, a share of them badly."""
        failed = round(bad * requests)
        by = {
            (of, org): Counts(
                requests=requests,
                answers=requests,
                errors=failed if of == (release or self.candidate) else 0,
                latency={bucket(0.05): requests},
            )
            for of in (self.stable, self.candidate)
            for org in ORGS
        }
        await self.counts.write("router-1", {"orders": by})

    async def look_until(
        self, holds: Callable[[Rollout], bool], *, fresh: bool = False, bad: float = 0.0, within_s: float = 20.0
    ) -> Rollout:
        """Look again and again while traffic goes on; with `fresh` each look is another process's first."""
        controller, end = self.controller(), time.monotonic() + within_s
        while time.monotonic() < end:
            await self.seen(bad=bad)
            await (self.controller() if fresh else controller).look()
            if holds(rollout := await self.rollout()):
                return rollout
            await asyncio.sleep(0.01)
        raise AssertionError(await self.rollout())


@pytest.fixture
async def world(tmp_path: Path, shared_server: Server) -> AsyncIterator[World]:
    async with connected(shared_server) as client:
        await client.flushall()
        yield World(tmp_path, ValkeyRollouts(client), ValkeyCounts(client))


def ended(rollout: Rollout) -> bool:
    return not rollout.under_way


async def events(world: World) -> list[str]:
    return [entry.action for entry in reversed(await world.rollouts.history("orders"))]


async def test_a_good_candidate_takes_over_step_by_step(world: World) -> None:
    await world.open()
    await world.begin()
    assert (await world.look_until(ended)).state == "promoted"
    active = await world.active()
    assert (active.stable, active.previous, active.candidate) == (world.candidate, world.stable, None)
    assert await events(world) == ["activate", "start", "begin", "advance", "advance", "promote"]


async def test_a_monitor_that_is_followed_by_another_at_each_look_loses_no_step(world: World) -> None:
    await world.open()
    await world.begin()
    await world.look_until(ended, fresh=True)
    assert await events(world) == ["activate", "start", "begin", "advance", "advance", "promote"]


async def test_two_monitors_at_once_move_a_rollout_once(world: World) -> None:
    await world.open()
    await world.begin()
    both = world.controller(), world.controller()
    for _ in range(200):
        await world.seen()
        await asyncio.gather(*(one.look() for one in both))
        if ended(await world.rollout()):
            break
        await asyncio.sleep(0.01)
    assert await events(world) == ["activate", "start", "begin", "advance", "advance", "promote"]


@pytest.mark.parametrize("at", ["canary 1", "canary 2", "paused"])
async def test_a_bad_candidate_is_taken_back_from_wherever_it_is(world: World, at: str) -> None:
    await world.open()
    await world.begin()
    wanted = 0 if at == "canary 1" else 1
    await world.look_until(lambda one: one.state == "canary" and one.step == wanted)
    if at == "paused":
        await move(world.rollouts, "orders", "pause", actor="me", reason="a look")
    rollout = await world.look_until(ended, bad=0.4)
    assert (rollout.state, rollout.weight_percent) == ("aborted", 0)
    assert rollout.verdict is not None
    assert rollout.verdict.outcome == "fail"
    active = await world.active()
    assert (active.stable, active.candidate) == (world.stable, None)
    assert active.was_aborted(world.candidate) is not None


async def test_an_org_that_the_candidate_does_not_serve_yet_is_spoken_for_by_the_shadow(world: World) -> None:
    await world.open()
    await world.begin()
    await world.look_until(lambda one: one.state == "canary")
    locked_out = {(world.candidate, "not-yet-served"): Counts(shadowed=40, shadow_newly_denied=40, latency={})}
    controller, end = world.controller(), time.monotonic() + 20
    while not ended(rollout := await world.rollout()):
        assert time.monotonic() < end
        await world.counts.write("router-1", {"orders": locked_out})
        await controller.look()
        await asyncio.sleep(0.01)
    assert rollout.state == "aborted"
    assert "in shadow" in rollout.reason


async def test_what_was_taken_back_is_not_rolled_out_again_without_a_reason(world: World) -> None:
    await world.open()
    await world.begin()
    await world.look_until(ended, bad=0.4)
    wish = [Wish(digest=world.candidate)]
    (again,) = await start(world.rollouts, world.loader, wish, actor="me")
    assert (again.outcome, "taken back" in again.reason) == ("refused", True)
    (forced,) = await start(world.rollouts, world.loader, wish, actor="me", force=True, why="the backend was mended")
    assert forced.outcome == "started"


async def test_without_traffic_nothing_is_promoted_and_the_rollout_pauses(world: World) -> None:
    await world.open(max_hold_s=0.3)
    await world.begin()
    controller = world.controller()
    end = time.monotonic() + 20
    while (rollout := await world.rollout()).state != "paused":
        assert time.monotonic() < end
        await world.counts.write("router-1", {})
        await controller.look()
        await asyncio.sleep(0.01)
    assert (rollout.paused_in, rollout.step) == ("canary", 0)
    assert "no verdict within 0.3 s" in rollout.reason


class Away(MemoryCounts):
    """A source that does not answer."""

    async def read(self, product: str, since_ms: int, until_ms: int | None = None) -> Any:
        raise Unavailable(f"counts of {product} since {since_ms} until {until_ms}: away")


async def test_a_source_that_is_down_is_no_pass(world: World) -> None:
    await world.open()
    await world.begin()
    await world.look_until(lambda one: one.state == "canary")
    blind = world.controller(Away(ManualClock()))
    for _ in range(20):
        await world.seen()
        await blind.look()
    assert (await world.rollout()).step == 0
    assert (await world.look_until(ended)).state == "promoted"


async def test_late_counts_are_no_pass(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.rollout.assess.LATE_MS", -1)
    await world.open()
    await world.begin()
    await world.look_until(lambda one: one.state == "canary")
    for _ in range(20):
        await world.seen()
        await world.controller().look()
    assert (await world.rollout()).step == 0


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
async def test_the_monitors_own_clock_moves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    await world.open(steps=(Step(weight_percent=50, hold_s=60),), max_hold_s=3000)
    await world.begin()
    await world.look_until(lambda one: one.state == "canary")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump_s)
    for _ in range(10):
        await world.seen()
        await world.controller().look()
    assert (await world.rollout()).state == "canary"


async def test_of_two_operators_at_once_one_wins(world: World) -> None:
    await world.open()
    await world.begin()
    await world.look_until(lambda one: one.state == "canary")
    active = await world.active()
    answers = await asyncio.gather(
        move(world.rollouts, "orders", "promote", actor="one", reason="fine", expected=active),
        move(world.rollouts, "orders", "abort", actor="other", reason="no", expected=active),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Active", "Conflict"]
    assert isinstance(next(a for a in answers if isinstance(a, BaseException)), Conflict)


async def test_a_store_that_is_away_stops_no_rollout_for_good(tmp_path: Path, own_server: Server) -> None:
    async with connected(own_server) as client:
        world = World(tmp_path, ValkeyRollouts(client), ValkeyCounts(client))
        await world.open()
        await world.begin()
        before = await world.look_until(lambda one: one.state == "canary")
        own_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await world.controller().look()
        finally:
            own_server.signal(signal.SIGCONT)
        assert await world.rollout() == before
        assert (await world.look_until(ended)).state == "promoted"


@pytest.mark.parametrize("part", ["envelope", "policy"])
async def test_a_candidate_that_is_damaged_before_it_begins_is_taken_back(world: World, part: str) -> None:
    await world.open()
    made = manifest("orders", spec(title="damaged", rollout=QUICK), wasm=OTHER)
    other = await stored(world.folder, made, OTHER)
    await start(world.rollouts, world.loader, [Wish(digest=other)], actor="me")
    files = [path for path in world.folder.rglob("*") if path.is_file() and _holds(path, part, other)]
    assert files
    for path in files:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-3])
    await world.controller().look()
    rollout = await world.rollout()
    assert (rollout.state, "cannot serve" in rollout.reason) == ("aborted", True)
    assert (await world.active()).stable == world.stable


def _holds(path: Path, part: str, digest: str) -> bool:
    return digest[7:] in path.name if part == "envelope" else path.read_bytes() == OTHER


async def test_a_candidate_that_is_not_whole_is_not_started(world: World) -> None:
    await world.open()
    half = await stored(world.folder, manifest("orders", spec(title="half"), wasm=OTHER), wasm=OTHER[:-1])
    with pytest.raises(ReleaseRejected):
        await start(world.rollouts, world.loader, [Wish(digest=half)], actor="me")


async def test_a_newer_candidate_waits_behind_one_that_serves_and_begins_after_it(world: World) -> None:
    await world.open()
    await world.begin()
    await world.look_until(lambda one: one.state == "canary")
    newer = await stored(world.folder, manifest("orders", spec(title="N+1", rollout=QUICK)))
    (waiting,) = await start(world.rollouts, world.loader, [Wish(digest=newer)], actor="me")
    assert waiting.outcome == "waiting"
    await world.look_until(lambda one: one.candidate == newer)
    active = await world.active()
    assert (active.stable, active.waiting) == (world.candidate, None)
    assert active.rollout is not None
    assert active.rollout.stable == world.candidate


async def test_a_rollback_is_one_change_and_needs_no_build(world: World) -> None:
    await world.open()
    await world.begin()
    await world.look_until(ended)
    before = (await world.rollouts.read()).revision
    rolled_back = await rollback(world.rollouts, world.loader, "orders", actor="me", why="customers call")
    assert (rolled_back.stable, rolled_back.previous) == (world.stable, world.candidate)
    assert (await world.rollouts.read()).revision == before + 1
    assert rolled_back.was_aborted(world.candidate) is not None
