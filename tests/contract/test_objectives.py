"""What every source of error budgets promises, and what is no budget."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec
import pytest

from apx.backends.gcp.objectives import AT_FAULT, WORKERS_QUERY, answers_query
from apx.backends.memory.counts import MemoryCounts
from apx.backends.valkey.connection import CALL_TIMEOUT_S
from apx.backends.valkey.counts import ValkeyCounts
from apx.catalog.model import Slo
from apx.errors import Unavailable
from apx.rollout.budget import LEAST_ANSWERS
from apx.rollout.counts import CountStore, Tally
from apx.rollout.objectives import DayObjectives, Objectives
from apx.telemetry.metrics import CATALOGUE
from tests.contract.cloud_monitoring import (
    Monitoring,
    monitoring,
)
from tests.contract.conftest import Server, connected

SLO = Slo(availability_percent=99.0)


class World(msgspec.Struct, frozen=True):
    """A source, and the way that answers of backends get into it: product, status (None: no answer), how many."""

    objectives: Objectives
    answered: Callable[[str, int | None, int], Awaitable[None]]


async def _now_ms() -> int:
    return int(time.time() * 1000)


def on_counters(counts: CountStore) -> World:
    async def answered(product: str, status: int | None, times: int) -> None:
        tally = Tally()
        for _ in range(times):
            tally.answered(
                product, "sha256:" + "a" * 64, "acme", latency_s=0.02, failed=status is None or status >= 500
            )
        await counts.write("worker-1", tally.take())

    return World(DayObjectives(counts, _now_ms), answered)


def on_google(opened: Monitoring) -> World:
    async def answered(product: str, status: int | None, times: int) -> None:
        opened.prometheus.count(product, status, times)

    return World(opened.objectives, answered)


@pytest.fixture(params=["memory", "valkey", "google"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield on_counters(MemoryCounts())
        elif request.param == "google":
            yield on_google(await stack.enter_async_context(monitoring()))
        else:
            client = await stack.enter_async_context(connected(request.getfixturevalue("shared_server")))
            await client.flushall()
            yield on_counters(ValkeyCounts(client))


async def spent(world: World, product: str = "orders", slo: Slo = SLO) -> float | None:
    found = await world.objectives.spent(product, slo)
    return None if found is None else found.spent


async def test_of_a_product_that_nobody_called_there_is_nothing_to_tell(world: World) -> None:
    assert await spent(world) is None


async def test_few_answers_tell_nothing_even_if_all_failed(world: World) -> None:
    await world.answered("orders", 500, LEAST_ANSWERS - 1)
    assert await spent(world) is None
    await world.answered("orders", 500, 1)
    assert await spent(world) == pytest.approx(100)


@pytest.mark.parametrize(("failed", "expected"), [(0, 0.0), (50, 0.5), (100, 1.0), (400, 4.0)])
async def test_it_is_spent_as_failures_use_up_what_the_slo_allows(world: World, failed: int, expected: float) -> None:
    await world.answered("orders", 200, 10_000 - failed)
    await world.answered("orders", 503, failed)
    assert await spent(world) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("status", "failed"),
    [(204, False), (302, False), (404, False), (429, False), (500, True), (504, True), (None, True)],
)
async def test_a_failure_is_the_backends_fault(world: World, status: int | None, *, failed: bool) -> None:
    await world.answered("orders", 200, LEAST_ANSWERS)
    await world.answered("orders", status, LEAST_ANSWERS)
    assert await spent(world) == pytest.approx(50.0 if failed else 0.0)


@pytest.mark.parametrize(
    "other", ["order", "orders2", "or.ers", ".*", 'orders"', "orders\\", 'x"} or vector(1) #', "ö"]
)
async def test_products_are_told_apart(world: World, other: str) -> None:
    await world.answered("orders", 500, LEAST_ANSWERS)
    assert await spent(world, other) is None
    await world.answered(other, 200, LEAST_ANSWERS)
    assert await spent(world, other) == 0


async def test_the_slo_that_is_asked_by_counts(world: World) -> None:
    await world.answered("orders", 200, 9_900)
    await world.answered("orders", 500, 100)
    assert await spent(world, slo=Slo(availability_percent=90.0)) == pytest.approx(0.1)
    assert await spent(world, slo=Slo(availability_percent=99.9)) == pytest.approx(10.0)


async def test_it_says_what_was_counted_and_over_which_window(world: World) -> None:
    await world.answered("orders", 200, 9_950)
    await world.answered("orders", 500, 50)
    found = await world.objectives.spent("orders", SLO)
    assert found is not None
    assert re.fullmatch(r"0\.50 % of 10000 answers failed in the last (day|30 days), 1\.00 % may", found.text)
    assert found.doubt == ""


async def test_many_may_ask_at_once(world: World) -> None:
    await world.answered("orders", 200, LEAST_ANSWERS)
    assert await asyncio.gather(*(spent(world) for _ in range(20))) == [0.0] * 20


class TestWithoutCounters:
    """What a counters' day does when Valkey is gone or silent."""

    async def test_gone_or_silent_it_is_unavailable_in_bounded_time(self, own_server: Server) -> None:
        async with connected(own_server) as client:
            world = on_counters(ValkeyCounts(client))
            own_server.signal(signal.SIGSTOP)
            async with asyncio.timeout(2 * CALL_TIMEOUT_S):
                with pytest.raises(Unavailable):
                    await spent(world)
            own_server.signal(signal.SIGCONT)
            own_server.kill()
            with pytest.raises(Unavailable):
                await spent(world)


def test_its_queries_are_over_metrics_and_labels_that_exist() -> None:
    known = {f"{metric.name}{'_count' * (metric.kind == 'histogram')}": metric for metric in CATALOGUE}
    answers, workers = answers_query("orders"), WORKERS_QUERY
    (counted,), (alive,) = (re.findall(r"apx_[a-z_]+", query) for query in (answers, workers))
    assert known[counted].kind == "histogram"
    assert known[alive].kind == "gauge"
    labels = {label.name: label for label in known[counted].labels}
    assert labels.keys() == {"product", "status_class"}
    assert set(labels["status_class"].values) >= AT_FAULT
    assert not known[alive].labels  # `job` is managed Prometheus's own
