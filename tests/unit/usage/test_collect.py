"""The collector: what was read is stored before it is forgotten, whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from apx.backends.files.usage import UsageFiles
from apx.backends.memory.usage import MemoryUsage
from apx.errors import Unavailable
from apx.usage.collect import Collecting, Collector
from apx.usage.events import Page, UsageEvent
from tests.contract.requests_examples import envelope, result
from tests.unit.usage.examples import asked


class Killed(Exception):
    """In place of kill -9."""


class Forgetful(MemoryUsage):
    """A log whose reader dies before it forgets."""

    dies = False

    async def forget(self, page: Page) -> None:
        if self.dies:
            raise Killed
        await super().forget(page)


class Full(UsageFiles):
    async def write(self, name: str, events: Sequence[UsageEvent]) -> None:
        del name, events
        raise Unavailable("the disk is full")


@pytest.fixture
def log() -> Forgetful:
    return Forgetful()


def finished(log: MemoryUsage, count: int) -> None:
    for _ in range(count):
        request = envelope()
        log.note(request, result(request, finished_ms=1_795_608_000_000))


async def requests(files: UsageFiles) -> int:
    return sum(total.requests for total in await files.ask(asked()))


async def test_what_waits_is_moved(log: Forgetful, tmp_path: Path) -> None:
    finished(log, 5)
    files = UsageFiles(tmp_path)
    assert await Collector(log, files).collect() == 5
    assert await requests(files) == 5
    assert await log.waiting(10) is None


async def test_a_kill_between_writing_and_forgetting_counts_nothing_twice(log: Forgetful, tmp_path: Path) -> None:
    finished(log, 5)
    files = UsageFiles(tmp_path)
    log.dies = True
    with pytest.raises(Killed):
        await Collector(log, files).collect()
    finished(log, 3)
    log.dies = False
    await Collector(log, files).collect()
    assert await requests(files) == 8


async def test_what_cannot_be_stored_waits(log: Forgetful, tmp_path: Path) -> None:
    finished(log, 5)
    with pytest.raises(Unavailable):
        await Collector(log, Full(tmp_path)).collect()
    page = await log.waiting(10)
    assert page is not None
    assert len(page.events) == 5


async def test_an_answer_has_what_ended_before_it(log: Forgetful, tmp_path: Path) -> None:
    finished(log, 2)
    files = UsageFiles(tmp_path)
    [total] = await Collecting(Collector(log, files), files).ask(asked("org"))
    assert (total.group, total.requests) == ({"org": "acme"}, 2)


async def test_an_answer_comes_also_while_nothing_can_be_moved(log: Forgetful, tmp_path: Path) -> None:
    files = UsageFiles(tmp_path)
    finished(log, 2)
    await Collector(log, files).collect()
    finished(log, 1)
    [total] = await Collecting(Collector(log, Full(tmp_path)), files).ask(asked("org"))
    assert total.requests == 2
