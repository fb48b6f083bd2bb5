from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence

import pytest

from apx.admission.recorder import MOST_WAITING, WRITTEN_A_FLUSH, Recorder
from apx.clock import ManualClock
from apx.errors import Unavailable
from apx.policy.decision import Decision
from apx.policy.sample import Sample

KEY = "apx_live_0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV"
ALLOW = Decision(allow=True, reason="ok")
REQUEST = {
    "method": "GET",
    "route": "/{id}",
    "path": "/1",
    "params": {"id": "1"},
    "query": {"token": [KEY]},
    "headers": {"cookie": f"session={KEY}"},
    "client_ip": "198.51.100.7",
}
INPUT = json.dumps({"org": "acme", "plan": "free", "product": "orders", "request": REQUEST}).encode()


class Kept:
    """A store in memory that can be away."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.away = False

    async def append(self, samples: Sequence[Sample]) -> None:
        if self.away:
            raise Unavailable("no disk")
        self.samples += samples


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def recorder(kept: Kept) -> Recorder:
    return Recorder(kept, ManualClock(1_700_000_000.0), random.Random(1).random)  # noqa: S311 -- a share, no secret


async def test_a_decision_is_written_masked(kept: Kept, recorder: Recorder) -> None:
    recorder.record("orders", "sha256:1", INPUT, ALLOW)
    await recorder.flush()
    (sample,) = kept.samples
    assert (sample.at_ms, sample.product, sample.release) == (1_700_000_000_000, "orders", "sha256:1")
    assert (sample.org, sample.route, sample.method, sample.allow, sample.reason) == (
        "acme",
        "/{id}",
        "GET",
        True,
        "ok",
    )
    assert b"0aB1cD2e" not in bytes(sample.input)
    assert b"198.51.100.0" in bytes(sample.input)


async def test_what_is_written_stays_bounded_whatever_the_traffic(kept: Kept, recorder: Recorder) -> None:
    for _ in range(8):
        kept.samples.clear()
        for _ in range(20_000):
            recorder.record("orders", "sha256:1", INPUT, ALLOW)
        await recorder.flush()
    assert WRITTEN_A_FLUSH / 2 < len(kept.samples) < WRITTEN_A_FLUSH * 2


async def test_a_busy_product_leaves_room_for_a_quiet_one(kept: Kept, recorder: Recorder) -> None:
    for _ in range(8):
        kept.samples.clear()
        recorder.record("quiet", "sha256:2", INPUT, ALLOW)
        for _ in range(20_000):
            recorder.record("busy", "sha256:1", INPUT, ALLOW)
        await recorder.flush()
    assert sum(sample.product == "quiet" for sample in kept.samples) == 1
    assert recorder.share("quiet") == 1.0


async def test_a_product_that_gets_quiet_is_taken_whole_again(recorder: Recorder) -> None:
    for _ in range(MOST_WAITING):
        recorder.record("orders", "sha256:1", INPUT, ALLOW)
    await recorder.flush()
    assert recorder.share("orders") == WRITTEN_A_FLUSH / MOST_WAITING
    for _ in range(4):
        await recorder.flush()
    assert recorder.share("orders") == 1.0


async def test_no_more_waits_than_is_bounded(kept: Kept, recorder: Recorder) -> None:
    recorder.record("orders", "sha256:1", b" " * 100_000, ALLOW)
    for _ in range(MOST_WAITING + 10):
        recorder.record("orders", "sha256:1", INPUT, ALLOW)
    await recorder.flush()
    assert len(kept.samples) == MOST_WAITING


async def test_a_store_that_is_away_stops_nothing(kept: Kept, recorder: Recorder) -> None:
    kept.away = True
    recorder.record("orders", "sha256:1", INPUT, ALLOW)
    await recorder.flush()
    kept.away = False
    recorder.record("orders", "sha256:1", INPUT, ALLOW)
    await recorder.flush()
    assert len(kept.samples) == 1


async def test_what_was_taken_is_written_when_it_ends(kept: Kept, recorder: Recorder) -> None:
    running = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    recorder.record("orders", "sha256:1", INPUT, ALLOW)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(kept.samples) == 1
