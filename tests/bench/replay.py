"""Replay: ten thousand recorded inputs through two policies, as `apx policy diff` does."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

from apx.admission.impact import judge
from apx.admission.recorder import Recorder
from apx.backends.files.samples import RecordedInputs
from apx.catalog.load import load_catalog
from apx.clock import SystemClock
from apx.policy.decision import Decision
from apx.policy.opa import Opa
from apx.policy.replay import replay
from apx.policy.sample import MOST_SAMPLES, line_of, sample_of
from apx.release.build import Drafter
from apx.release.model import Release
from tests.bench.bench import Bench, NotMeasured
from tests.bench.decision import document
from tests.bench.row import Goal, Row, interleaved, row
from tests.bench.trees import bench_tree

NAMES = ("replay", "replay-record")
RECORDED = 100_000
ALLOW = Decision(allow=True, reason="ok")


def rows(bench: Bench) -> Iterator[Row]:
    """Measure what a change costs to look at, and what a decision costs to record."""
    before = _draft(bench_tree(bench.folder / "before"), bench.folder)
    tree = bench_tree(bench.folder / "after")
    data = tree / "policies" / "lib" / "plans" / "data.json"
    data.write_text(data.read_text().replace('"order_usd": 1000000', '"order_usd": 50'))
    after = _draft(tree, bench.folder)
    path = _recorded(bench.folder / "samples.jsonl", before.digest)
    found = interleaved({"ours": lambda: _replay(path, before, after)}, bench.rounds)
    yield row(
        "replay",
        found["ours"],
        unit="s",
        goal=Goal(at_most=10),
        note=f"{MOST_SAMPLES} recorded inputs, no two alike: read, put to two policies that differ, compared. "
        "Compiling is not in it.",
    )
    yield row(
        "replay-record",
        interleaved({"ours": _record_us}, bench.rounds)["ours"],
        unit="µs",
        goal=Goal(at_most=2),
        note="`Recorder.record` of a decision, on average, at the share that a thousand decisions a second leave.",
    )


def _draft(tree: Path, folder: Path) -> Release:
    (release,) = asyncio.run(Drafter(Opa.find(), folder / "cache").draft(load_catalog(tree), ["orders"]))
    return release


def _recorded(path: Path, release: str) -> Path:
    samples = [sample_of(number, "orders", release, document(number), ALLOW) for number in range(1, MOST_SAMPLES + 1)]
    path.write_bytes(b"".join(line_of(sample) for sample in samples if sample is not None))
    return path


def _replay(path: Path, before: Release, after: Release) -> float:
    begun = time.perf_counter()
    with judge(before) as was, judge(after) as now:
        found = replay(RecordedInputs(path.parent, [path]).of("orders"), was, now, before_release=before.digest)
    took = time.perf_counter() - begun
    if found.compared != MOST_SAMPLES or not 0 < found.flips < MOST_SAMPLES:
        raise NotMeasured(f"{found.compared} compared, {found.flips} flips, {found.not_reproduced} not reproduced")
    return took


class _Nowhere:
    async def append(self, samples: object) -> None:
        """Keep nothing."""


def _record_us() -> float:
    recorder = Recorder(_Nowhere(), SystemClock(), random.random)
    given = document(1)
    begun = time.perf_counter()
    for number in range(RECORDED):
        recorder.record("orders", "sha256:1", given, ALLOW)
        if number % 5_000 == 0:  # what comes in within a flush; only the recording is timed
            paused = time.perf_counter()
            asyncio.run(recorder.flush())
            begun += time.perf_counter() - paused
    return (time.perf_counter() - begun) / RECORDED * 1e6
