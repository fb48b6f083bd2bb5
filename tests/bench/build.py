"""Releases: a full build, the rebuild after one change, and the way of a change until it serves."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from apx.local.platform import REPOSITORY, Platform
from tests.bench.bench import Bench, NotMeasured
from tests.bench.row import Goal, Row, Samples, once, row
from tests.bench.trees import ORDER, many_products

NAMES = ("build-full", "build-linearity", "build-change-serving", "build-changed", "build-activate", "build-follow")
SIZES = (50, 100, 200)
PRODUCTS_A_PACKAGE = 10
MOST_S = 240.0
POLL_S = 0.01


def rows(bench: Bench) -> Iterator[Row]:
    """Build trees of growing size from nothing; then change one product of the largest, on a live platform."""
    took: dict[int, float] = {}
    for size in SIZES:
        tree = many_products(bench.folder / f"tree-{size}", products=size, packages=size // PRODUCTS_A_PACKAGE)
        took[size] = _apx(bench.folder / f"build-{size}", tree, "release", "build")
        bench.say(f"{size} products built in {took[size]:.1f} s")
    smallest, largest = SIZES[0], SIZES[-1]
    yield row(
        "build-full",
        once(took[largest]),
        unit="s",
        note=f"`apx release build` of {largest} products with {largest // PRODUCTS_A_PACKAGE} policies from nothing: "
        "compile, test, sign, store. " + ", ".join(f"{size}: {seconds:.1f} s" for size, seconds in took.items()),
    )
    yield row(
        "build-linearity",
        once((took[largest] / largest) / (took[smallest] / smallest)),
        unit="×",
        goal=Goal(at_most=1.2),
        note=f"time a product of {largest} over time a product of {smallest}; 1 is linear.",
    )
    tree = bench.folder / f"tree-{largest}"
    platform = bench.platform(f"build-{largest}", tree, without=("worker", "demo"), start_s=90)
    rounds = [_change(platform, tree, number) for number in range(bench.rounds)]
    for name, goal, values, note in (
        ("build-change-serving", Goal(at_most=5), [sum(one) for one in rounds], "the sum of the three below"),
        ("build-changed", Goal(), [one[0] for one in rounds], f"`apx release build` of all {largest}, one changed"),
        ("build-activate", Goal(), [one[1] for one in rounds], "`apx release activate` of what is new"),
        ("build-follow", Goal(), [one[2] for one in rounds], "until an answer names the new release"),
    ):
        yield row(name, Samples(tuple(values)), unit="s", goal=goal, note=f"{note}.")


def _change(platform: Platform, tree: Path, number: int) -> tuple[float, float, float]:
    """Change one product; return the seconds to build, to activate and until it serves."""
    path = tree / "products" / "orders-7" / "product.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"deadline_s: .*", f"deadline_s: {3000 + number}", text), encoding="utf-8")
    before = _serving(platform)
    built = _apx(platform.home, tree, "release", "build")
    activated = _apx(platform.home, tree, "release", "activate")
    begun = time.perf_counter()
    while _serving(platform) == before:
        if time.perf_counter() - begun > MOST_S:
            raise NotMeasured("the changed product does not serve")
        time.sleep(POLL_S)
    return built, activated, time.perf_counter() - begun


def _serving(platform: Platform) -> str:
    """Return the release that answers for the changed product."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.settings.edge_port, timeout=10)
    try:
        headers = {"x-api-key": platform.keys["acme"], "content-type": "application/json"}
        connection.request("POST", "/orders-7/", ORDER, headers)
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if "release" not in answer:
        raise NotMeasured(f"POST /orders-7/ answers {answer}")
    return str(answer["release"])


def _apx(home: Path, tree: Path, *arguments: str) -> float:
    """Run the CLI as a person does; return its seconds, the start of its process included."""
    environment = {**os.environ, "APX_HOME": str(home), "APX_GITOPS": str(tree)}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "apx.cli.main", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    if done.returncode != 0:
        raise NotMeasured(f"apx {' '.join(arguments)} exits {done.returncode}: {done.stderr.strip()[-400:]}")
    return time.perf_counter() - begun
