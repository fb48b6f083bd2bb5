"""Synthesis of an environment's stacks, the providers imported a module at a time, against the packages as they are."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

from apx.local.platform import REPOSITORY
from tests.bench.bench import Bench, NotMeasured
from tests.bench.row import Goal, Row, interleaved, row

NAMES = ("synth",)
PYTHON = REPOSITORY / ".venv-stacks" / "bin" / "python"
STOCK = """
import cdktf_cdktf_provider_google, cdktf_cdktf_provider_kubernetes  # before ours, so that theirs stay
import os, runpy, stacks
del os.environ["NODE_OPTIONS"]  # nor are the packages' modules lazy in Node
runpy.run_module("stacks", run_name="__main__")
"""


def rows(bench: Bench) -> Iterator[Row]:
    """Synthesise prod, warm; in turn with the providers' own `__init__`, which imports everything."""
    if not PYTHON.exists():
        raise NotMeasured("the stacks' environment is not here: `./dev synth` installs it")
    _synthesise(bench, "-m", "stacks")  # jsii keeps what it unpacks the first time
    sides = {
        "ours": lambda: _synthesise(bench, "-m", "stacks"),
        "stock": lambda: _synthesise(bench, "-c", STOCK),
    }
    took = interleaved(sides, bench.rounds)
    stacks = len(list((bench.folder / "out" / "stacks").iterdir()))
    yield row(
        "synth",
        took["ours"],
        took["stock"],
        unit="s",
        peer="the same program after stock imports of both provider packages",
        goal=Goal(ratio_from=7, at_most=10),
        less_is_better=True,
        note=f"{stacks} stacks of prod, each in a process of its own, warm.",
    )


def _synthesise(bench: Bench, *program: str) -> float:
    out = bench.folder / "out"
    began = time.monotonic()
    done = subprocess.run(
        [PYTHON, *program, "--environment", "prod", "--out", out],
        cwd=REPOSITORY,
        env={**os.environ, "JSII_RUNTIME_PACKAGE_CACHE": "enabled", "JSII_NODE": str(PYTHON.with_name("node"))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotMeasured(done.stderr.strip().splitlines()[-1])
    return time.monotonic() - began
