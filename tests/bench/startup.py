"""How long `./dev up` takes once everything has been built before."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping

from apx.local.platform import REPOSITORY
from tests.bench.bench import Bench, NotMeasured
from tests.bench.row import Goal, Row, Samples, once, row

NAMES = ("startup", "startup-first", "startup-down")
PORTS = ("EDGE", "CONTROL", "ROUTER", "WORKER", "DEMO")
MOST_S = 180.0


def rows(bench: Bench) -> Iterator[Row]:
    """Start and stop the example platform as a person does."""
    environment = {
        **os.environ,
        "APX_HOME": str(bench.folder / "home"),
        **{f"APX_{name}_PORT": "auto" for name in PORTS},
    }
    try:
        first, _ = _up_and_down(environment)
        later = [_up_and_down(environment) for _ in range(bench.rounds)]
    finally:
        _run(environment, "down")
    yield row(
        "startup",
        Samples(tuple(up for up, _ in later)),
        unit="s",
        goal=Goal(at_most=10),
        note="`./dev up --detach` with releases, keys and compiled policies from an earlier run: all seven processes "
        "ready, Envoy included.",
    )
    yield row("startup-first", once(first), unit="s", note="the same in an empty folder: policies compiled and tested.")
    yield row("startup-down", Samples(tuple(down for _, down in later)), unit="s", note="`./dev down`.")


def _up_and_down(environment: Mapping[str, str]) -> tuple[float, float]:
    return _run(environment, "up", "--detach", "--json"), _run(environment, "down")


def _run(environment: Mapping[str, str], *arguments: str) -> float:
    begun = time.perf_counter()
    done = subprocess.run(
        [str(REPOSITORY / "dev"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    if done.returncode != 0:
        raise NotMeasured(f"./dev {' '.join(arguments)} exits {done.returncode}: {done.stderr.strip()[-400:]}")
    return time.perf_counter() - begun
