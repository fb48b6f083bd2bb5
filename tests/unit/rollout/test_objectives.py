"""One source of budgets behind another, and the budgets of what is live."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from apx.backends.files.releases import FileReleaseStore
from apx.backends.memory.rollouts import MemoryRollouts
from apx.catalog.model import Slo
from apx.clock import ManualClock
from apx.errors import Misconfigured, Unavailable
from apx.release.load import Loader
from apx.rollout.actions import Wish, start
from apx.rollout.budget import Budget
from apx.rollout.objectives import ASKED_AGAIN_AFTER_S, MOST_AT_ONCE, Fallback, Objectives, live_budgets
from tests.unit.release.examples import TRUSTED, manifest, spec, stored

SLO = Slo()
MONTH = Budget(spent=0.2, text="of the month")
DAY = Budget(spent=1.5, text="of the day")


class Scripted(Objectives):
    """Says what it is told to."""

    def __init__(self, says: Budget | Exception | None) -> None:
        self.says = says
        self.asked: list[tuple[str, Slo]] = []
        self.most_at_once = self._now = 0

    async def spent(self, product: str, slo: Slo) -> Budget | None:
        self.asked.append((product, slo))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class TestFallback:
    """Which of the two is heard."""

    async def test_the_first_is_heard_alone_where_it_answers(self) -> None:
        second = Scripted(DAY)
        assert await Fallback(Scripted(MONTH), second, ManualClock()).spent("orders", SLO) == MONTH
        assert second.asked == []

    async def test_where_the_first_has_too_little_the_second_is_heard_without_a_doubt(self) -> None:
        assert await Fallback(Scripted(None), Scripted(DAY), ManualClock()).spent("orders", SLO) == DAY
        assert await Fallback(Scripted(None), Scripted(None), ManualClock()).spent("orders", SLO) is None

    @pytest.mark.parametrize("error", [Unavailable("it is away"), Misconfigured("it refused us")])
    async def test_where_the_first_is_not_heard_that_is_told(self, error: Exception) -> None:
        found = await Fallback(Scripted(error), Scripted(DAY), ManualClock()).spent("orders", SLO)
        assert found is not None
        assert (found.spent, found.told) == (1.5, f"of the day; of 30 days nothing is known: {error}")

    async def test_where_both_know_nothing_that_is_told_and_stands_in_nobodys_way(self) -> None:
        found = await Fallback(Scripted(Unavailable("away")), Scripted(None), ManualClock()).spent("orders", SLO)
        assert found is not None
        assert found.spent == 0
        assert "too few to tell; of 30 days nothing is known: away" in found.told

    async def test_where_both_are_away_it_is_unavailable(self) -> None:
        both = Fallback(Scripted(Misconfigured("refused")), Scripted(Unavailable("the store is away")), ManualClock())
        with pytest.raises(Unavailable, match="the store is away"):
            await both.spent("orders", SLO)

    async def test_one_that_was_not_heard_is_left_alone_for_a_while(self) -> None:
        clock, first = ManualClock(), Scripted(Unavailable("away"))
        both = Fallback(first, Scripted(DAY), clock)
        for product in ("orders", "exports"):
            found = await both.spent(product, SLO)
            assert found is not None
            assert "away" in found.doubt
        assert len(first.asked) == 1
        clock.advance(ASKED_AGAIN_AFTER_S)
        first.says = MONTH
        assert await both.spent("orders", SLO) == MONTH

    async def test_a_fault_of_our_own_is_no_absence(self) -> None:
        with pytest.raises(KeyError):
            await Fallback(Scripted(KeyError("x")), Scripted(DAY), ManualClock()).spent("orders", SLO)


class World:
    """Products that are live, each with an SLO of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryRollouts(ManualClock())
        self.loader = Loader(FileReleaseStore(folder), TRUSTED)

    async def live(self, product: str, availability_percent: float = 99.0) -> str:
        slo = Slo(availability_percent=availability_percent)
        digest = await stored(self.folder, manifest(product, spec(base_path=f"/{product}", slo=slo)))
        await start(self.store, self.loader, [Wish(digest=digest)], actor="ann")
        return digest

    async def budgets(self, objectives: Objectives, *products: str) -> dict[str, Budget]:
        return await live_budgets(self.store, objectives, self.loader, products)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestLiveBudgets:
    """Of which products a budget is asked, and by which SLO."""

    async def test_those_that_are_live_are_asked_for_by_their_stable_releases_slo(self, world: World) -> None:
        for product, percent in (("orders", 99.0), ("exports", 90.0), ("others", 99.9)):
            await world.live(product, percent)
        objectives = Scripted(MONTH)
        assert await world.budgets(objectives, "orders", "exports", "nothing") == {"exports": MONTH, "orders": MONTH}
        asked = {product: slo.availability_percent for product, slo in objectives.asked}
        assert asked == {"exports": 90.0, "orders": 99.0}

    async def test_one_of_which_nothing_is_known_has_none(self, world: World) -> None:
        await world.live("orders")
        assert await world.budgets(Scripted(None), "orders") == {}

    async def test_one_whose_stable_release_is_gone_has_none(self, world: World) -> None:
        digest = await world.live("orders")
        for path in world.folder.rglob(f"*{digest[7:]}*"):
            path.unlink()
        assert await world.budgets(Scripted(MONTH), "orders") == {}

    async def test_a_source_that_is_away_is_told_as_it_is(self, world: World) -> None:
        for product in ("orders", "exports"):
            await world.live(product)
        with pytest.raises(Unavailable, match="away"):
            await world.budgets(Scripted(Unavailable("away")), "orders", "exports")

    async def test_many_are_asked_for_side_by_side_but_not_all_at_once(self, world: World) -> None:
        names = [f"product-{number}" for number in range(3 * MOST_AT_ONCE)]
        for name in names:
            await world.live(name)
        objectives = Scripted(MONTH)
        assert list(await world.budgets(objectives, *names)) == sorted(names)
        assert 1 < objectives.most_at_once <= MOST_AT_ONCE
