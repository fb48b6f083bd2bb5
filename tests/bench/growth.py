"""What many products, orgs, keys and lanes cost: the same platform with few and with many."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import signal
import time
from collections.abc import Callable, Iterator

import msgspec
import psutil

from apx import bootstrap
from apx.local.parts import Parts
from apx.settings import Settings
from tests.bench.bench import Bench, NotMeasured
from tests.bench.crowd import SYNC_EVERY, Crowd, activate
from tests.bench.load import request
from tests.bench.row import Goal, Row, Samples, interleaved, row
from tests.bench.side import Side
from tests.bench.trees import ORDER, bench_tree

NAMES = (
    "growth",
    "growth-router-cpu",
    "growth-edge-cpu",
    "growth-store-cpu",
    "growth-router-memory",
    "growth-edge-memory",
    "growth-reload",
    "growth-router-restart",
    "growth-edge-restart",
)
FEW = 10
MOST_S = 300.0
MIB = 2**20
CHANGED = "crowd-0"


class Crowded:
    """One of the two platforms, and a request for each of its asynchronous products."""

    def __init__(self, bench: Bench, count: int) -> None:
        begun = time.perf_counter()
        crowd = Crowd(count)
        self.platform = bench.platform(
            f"crowd-{count}",
            bench.folder / "gitops",
            without=("worker", "demo", "control"),
            parts=Parts(prepare=crowd.prepare, seed=crowd.seed),
            start_s=MOST_S,
        )
        bench.say(f"a platform with {count} products is ready after {time.perf_counter() - begun:.0f} s")
        self._keys = crowd.keys
        requests = [_order(product, key) for product, key in crowd.keys.items()]
        random.Random(7).shuffle(requests)  # noqa: S311 -- so that neighbours are not asked after one another
        pids = {name: self.platform.pid(name) for name in ("router", "edge", "valkey")}
        self.load = Side(bench, self.platform.settings.edge_port, requests, pids)

    def memory_mib(self, name: str) -> float:
        return psutil.Process(self.platform.pid(name)).memory_info().rss / MIB

    def restart_s(self, name: str) -> float:
        """Kill a process; return the seconds until the one that follows it is ready."""
        begun = time.perf_counter()
        old = self.platform.kill(name, signal.SIGKILL)
        while self.platform.pid(name) in (0, old):
            _in_time(begun, f"{name} is not started again")
            time.sleep(0.02)
        self.platform.wait_ready(name, timeout_s=MOST_S)
        return time.perf_counter() - begun

    def reload_s(self) -> float:
        """Change one product's release; return the seconds until an answer names the new one."""
        settings = Settings(home=self.platform.home)
        begun, digest = asyncio.run(_change(settings))
        while self._serving() != digest:
            _in_time(begun, "the changed product does not serve")
            time.sleep(0.005)
        return time.perf_counter() - begun

    def _serving(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.platform.settings.edge_port, timeout=60)
        try:
            headers = {"x-api-key": self._keys[CHANGED], "content-type": "application/json"}
            connection.request("POST", f"/{CHANGED}/", ORDER, headers)
            return str(json.loads(connection.getresponse().read()).get("release"))
        finally:
            connection.close()


def rows(bench: Bench) -> Iterator[Row]:
    """Measure a small and a large platform side by side."""
    most = 1_000 if bench.quick else 10_000
    bench_tree(bench.folder / "gitops")
    few, many = Crowded(bench, FEW), Crowded(bench, most)
    for side in (few, many):
        side.load.warm_up()  # each key and each decision once
    found = interleaved({"few": few.load.rate, "many": many.load.rate}, bench.rounds)
    peer = f"with {FEW}"
    scale = (
        f"{most:,} products, orgs, keys and lanes beside {FEW}, asked in a random order that repeats; one in "
        f"{SYNC_EVERY} products is synchronous and not asked. One policy, shared; both platforms run all the time."
    )
    yield row(
        "growth",
        found["many"],
        found["few"],
        unit="req/s",
        peer=peer,
        goal=Goal(ratio_from=0.9),
        note=f"durable 202, memoised decisions. {scale}",
    )
    for name, process in (("router", "router"), ("edge", "edge"), ("store", "valkey")):
        yield row(
            f"growth-{name}-cpu",
            many.load.cpu_us(process),
            few.load.cpu_us(process),
            unit="µs",
            peer=peer,
            less_is_better=True,
            note="processor time a request: where the difference comes from.",
        )

    def beside(name: str, unit: str, of: Callable[[Crowded], float], note: str) -> Row:
        ours, theirs = Samples((of(many),)), Samples((of(few),))
        return row(name, ours, theirs, unit=unit, peer=peer, less_is_better=True, note=note)

    for name in ("router", "edge"):
        yield beside(
            f"growth-{name}-memory",
            "MiB",
            lambda side, name=name: side.memory_mib(name),  # type: ignore[misc]
            "resident, after the load.",
        )
    yield beside(
        "growth-reload", "s", Crowded.reload_s, "from a changed live state until an answer names the new release."
    )
    for name, what in (("router", "the router"), ("edge", "Envoy")):
        yield beside(
            f"growth-{name}-restart",
            "s",
            lambda side, name=name: side.restart_s(name),  # type: ignore[misc]
            f"kill -9 of {what} until the next one is ready, the supervisor's own pause of up to a second included.",
        )


def _order(product: str, key: str) -> bytes:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return request("POST", f"/{product}/", headers, ORDER)


async def _change(settings: Settings) -> tuple[float, str]:
    """Make a new release of one product live; return when that began, and its digest."""
    signer = bootstrap.key_folder(settings).signer()
    async with bootstrap.backends(settings) as backends:
        active = (await backends.rollouts.read()).products[CHANGED]
        manifest = await bootstrap.loader(settings).manifest(active.stable)
        spec = msgspec.structs.replace(manifest.spec, title=f"{manifest.spec.title} again")
        new = msgspec.structs.replace(manifest, spec=spec)
        begun = time.perf_counter()
        return begun, await activate(new, signer, backends, revision=active.revision)


def _in_time(begun: float, complaint: str) -> None:
    if time.perf_counter() - begun > MOST_S:
        raise NotMeasured(complaint)
