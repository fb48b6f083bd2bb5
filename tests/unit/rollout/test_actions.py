"""What starts a rollout, what stands in its way, and what each action leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apx.backends.files.releases import FileReleaseStore
from apx.backends.memory.rollouts import MemoryRollouts
from apx.catalog.model import Freeze, RolloutSpec
from apx.clock import ManualClock
from apx.errors import Conflict, NotFound, Unsupported
from apx.release.load import Loader
from apx.rollout.actions import Started, Wish, begin_waiting, move, rollback, shown_state, start
from apx.rollout.activate import activate
from apx.rollout.active import Active
from apx.rollout.budget import Budget
from tests.unit.release.examples import JWT, TRUSTED, manifest, spec, stored

COMMIT = "c" * 40
ALL_DAY = RolloutSpec(freeze=(Freeze(begin="00:00", end="00:00", why="year's end"),))


class World:
    """A store, and releases of a product."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.store = MemoryRollouts(self.clock)
        self.loader = Loader(FileReleaseStore(folder), TRUSTED)

    async def release(self, title: str = "N", product: str = "orders", **changes: Any) -> str:
        base = {"title": title, "base_path": f"/{product}", **changes}
        return await stored(self.folder, manifest(product, spec(**base)))

    async def start(self, *digests: str, **wish: Any) -> list[Started]:
        wishes = [Wish(digest=digest, commit=COMMIT) for digest in digests]
        return await start(self.store, self.loader, wishes, actor="ann", **wish)

    async def active(self, product: str = "orders") -> Active:
        return (await self.store.read()).products[product]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    await world.start(await world.release("N-1"))
    return world


async def outcome(world: World, digest: str, **wish: Any) -> str:
    return (await world.start(digest, **wish))[0].outcome


async def test_a_products_first_release_is_live_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    digest = await world.release()
    assert await outcome(world, digest) == "activated"
    assert (await world.active()).stable == digest


async def test_what_is_there_already_is_known(world: World) -> None:
    candidate = await world.release()
    assert await outcome(world, (await world.active()).stable) == "live"
    assert await outcome(world, candidate) == "started"
    assert await outcome(world, candidate) == "under-way"


async def test_a_rollout_knows_who_why_and_from_which_commit(world: World) -> None:
    await world.start(await world.release(), why="because")
    rollout = (await world.active()).rollout
    assert rollout is not None
    assert (rollout.by, rollout.why, rollout.commit, shown_state(rollout)) == ("ann", "because", COMMIT, "pending")


async def test_a_newer_one_takes_the_place_of_one_that_has_moved_nobody(world: World) -> None:
    await world.start(await world.release())
    newer = await world.release("N+1")
    assert await outcome(world, newer) == "started"
    active = await world.active()
    assert (active.candidate, active.waiting) == (newer, None)
    assert "supersedes" in (await world.store.history("orders"))[0].why


async def test_a_newer_one_waits_behind_one_that_serves(world: World) -> None:
    await world.start(await world.release())
    for event in ("begin", "advance"):
        await move(world.store, "orders", event, actor="monitor", reason="")
    newer = await world.release("N+1")
    assert await outcome(world, newer) == "waiting"
    assert await outcome(world, newer) == "waiting"
    with pytest.raises(Conflict):
        await begin_waiting(world.store, await world.active(), actor="monitor")
    promoted = await move(world.store, "orders", "promote", actor="ann", reason="")
    begun = await begin_waiting(world.store, promoted, actor="monitor")
    assert (begun.candidate, begun.waiting) == (newer, None)
    assert begun.rollout is not None
    assert begun.rollout.stable == promoted.stable


@pytest.mark.parametrize("way", ["aborted before", "frozen", "budget spent"])
async def test_what_stands_in_the_way_is_told_and_a_reason_overrides_it(world: World, way: str) -> None:
    candidate = await world.release(rollout=ALL_DAY if way == "frozen" else RolloutSpec())
    budgets = {"orders": Budget(spent=1.0, text="2 % failed")} if way == "budget spent" else {}
    if way == "aborted before":
        await world.start(candidate)
        await move(world.store, "orders", "abort", actor="ann", reason="a bad feeling")
    (refused,) = await world.start(candidate, budgets=budgets)
    assert refused.outcome == "refused"
    told = {"aborted before": "a bad feeling", "frozen": "year's end", "budget spent": "2 % failed"}[way]
    assert told in refused.reason
    assert (await world.active()).candidate is None
    assert await outcome(world, candidate, budgets=budgets, force=True, why="I know") == "started"
    assert (await world.store.history("orders"))[0].why.startswith("I know")


@pytest.mark.parametrize("spent", [0.5, 1.0])
async def test_what_was_not_known_of_the_error_budget_is_told(world: World, spent: float) -> None:
    budgets = {"orders": Budget(spent=spent, text="1 % failed in the last day", doubt="the month is not known")}
    (one,) = await world.start(await world.release(), budgets=budgets)
    told = "1 % failed in the last day; the month is not known"
    if spent < 1:
        assert (one.outcome, one.note) == ("started", f"error budget: {told}")
    else:
        assert (one.outcome, one.note) == ("refused", "")
        assert told in one.reason


async def test_force_takes_a_reason(world: World) -> None:
    with pytest.raises(Unsupported, match="say why"):
        await world.start(await world.release(), force=True)


@pytest.mark.parametrize(("field", "changed"), [("base_path", "/other"), ("mode", "sync"), ("auth", JWT)])
async def test_what_cannot_be_split_by_org_is_refused_with_the_way_out(world: World, field: str, changed: Any) -> None:
    candidate = await world.release(**{field: changed})
    with pytest.raises(Unsupported, match=rf"{field} changes.*apx release activate"):
        await world.start(candidate)


async def test_without_a_sound_stable_release_nothing_starts(world: World) -> None:
    stable = (await world.active()).stable
    for path in world.folder.rglob(f"*{stable[7:]}*"):
        path.unlink()
    with pytest.raises(Unsupported, match="no way back"):
        await world.start(await world.release())


async def test_releases_of_one_call_are_a_wave(world: World) -> None:
    await world.start(await world.release("N-1", "exports"))
    await world.start(await world.release(), await world.release("N", "exports"))
    waves = {one.rollout.wave for one in (await world.store.read()).products.values() if one.rollout}
    assert len(waves) == 1
    assert waves != {""}


async def test_an_abort_brings_the_whole_stable_release_back_and_asks_for_a_revert(world: World) -> None:
    before = (await world.active()).stable
    await world.start(candidate := await world.release())
    active = await move(world.store, "orders", "abort", actor="ann", reason="bad")
    assert (active.stable, active.candidate) == (before, None)
    assert [one.digest for one in active.aborted] == [candidate]
    assert active.rollout is not None
    assert active.rollout.revert is not None
    assert active.rollout.revert.state == "wanted"


async def test_a_rollback_goes_where_it_is_told(world: World) -> None:
    first = (await world.active()).stable
    for title in ("second", "third"):
        await world.start(await world.release(title))
        await move(world.store, "orders", "promote", actor="ann", reason="")
    third = (await world.active()).stable
    back = await rollback(world.store, world.loader, "orders", to=first, actor="ann")
    assert (back.stable, back.previous) == (first, third)
    assert back.was_aborted(third) is not None


async def test_a_rollback_to_nothing_or_to_what_serves_is_told(world: World) -> None:
    with pytest.raises(NotFound, match="no release before"):
        await rollback(world.store, world.loader, "orders", actor="ann")
    with pytest.raises(Conflict, match="already"):
        await rollback(world.store, world.loader, "orders", to=(await world.active()).stable, actor="ann")
    with pytest.raises(NotFound, match="no live product"):
        await rollback(world.store, world.loader, "nothing", actor="ann")


async def test_nobody_switches_a_product_while_it_rolls_out(world: World) -> None:
    await world.start(await world.release())
    with pytest.raises(Conflict, match="rollout under way"):
        await activate(world.store, world.loader, [await world.release("X")], actor="b", why="", clock=world.clock)


async def test_an_activation_keeps_what_was_taken_back(world: World) -> None:
    await world.start(bad := await world.release())
    await move(world.store, "orders", "abort", actor="ann", reason="bad")
    await activate(world.store, world.loader, [await world.release("X")], actor="b", why="", clock=world.clock)
    assert (await world.active()).was_aborted(bad) is not None
