"""Requests that one worker process completes, beside one of Celery, with the same backend that does nothing."""

from __future__ import annotations

import asyncio
import http.client
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import uvloop

from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.connection import connect
from apx.backends.valkey.results import ValkeyResults
from apx.backends.valkey.rollouts import ValkeyRollouts
from apx.local.platform import Platform
from apx.local.settings import free_ports
from apx.requests.model import Envelope, Result
from tests.bench.bench import Bench, NotMeasured, end, peer_python, python
from tests.bench.bus import envelope
from tests.bench.celery_api import start_store
from tests.bench.row import Goal, Row, interleaved, row
from tests.bench.trees import bench_tree

NAMES = ("worker",)
POOLS: dict[str, tuple[str, ...]] = {
    "solo": ("--pool", "solo"),
    "prefork": ("--pool", "prefork", "--concurrency", "1"),
    "threads": ("--pool", "threads", "--concurrency", "64"),
    "gevent": ("--pool", "gevent", "--concurrency", "64"),
}
MOST_S = 60.0
FIRST, LAST = 0.1, 0.9
"""The part of a run that counts: without the start of a process and the last stragglers."""


class Backend:
    """The backend of both sides, and how many requests it has answered."""

    def __init__(self, bench: Bench) -> None:
        (self.port,) = free_ports(1)
        process = bench.start(*python("tests.bench.peer.null_backend", str(self.port)), log="backend")
        bench.await_port(self.port, process, "backend")
        self._client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)

    def count(self) -> int:
        self._client.request("GET", "/count")
        return int(self._client.getresponse().read())

    def rate(self, count: int, before: int) -> float:
        """Wait for `count` requests more than `before`; return how many a second came in the middle part."""
        deadline = time.monotonic() + MOST_S
        times: dict[int, float] = {}
        while (done := self.count() - before) < count:
            times.setdefault(done, time.perf_counter())
            if time.monotonic() > deadline:
                raise NotMeasured(f"the worker completed {done} of {count} requests in {MOST_S:g} s")
            time.sleep(0.005)
        middle = [(done, at) for done, at in times.items() if count * FIRST <= done <= count * LAST]
        if len(middle) < 2:
            raise NotMeasured(f"{count} requests are too few: they were done between two looks")
        (first, begun), (last, ended) = middle[0], middle[-1]
        return (last - first) / (ended - begun)


def rows(bench: Bench) -> Iterator[Row]:
    """Fill the queue while no worker works, then let one empty it."""
    backend = Backend(bench)
    tree = bench_tree(bench.folder / "gitops", orders_backend=f"http://127.0.0.1:{backend.port}/orders")
    platform = bench.platform("apx", tree, without=("demo", "control", "router", "edge", "edge-config"))
    store = start_store(bench, "celery")
    ours, theirs = (4_000, 600) if bench.quick else (20_000, 1_500)
    pool = _best_pool(bench, backend, store, theirs // 3)
    found = interleaved(
        {
            "ours": lambda: _ours(platform, backend, ours),
            "celery": lambda: _celery(bench, backend, store, POOLS[pool], theirs),
        },
        bench.rounds,
    )
    yield row(
        "worker",
        found["ours"],
        found["celery"],
        unit="req/s",
        peer=f"Celery, {pool}",
        goal=Goal(ratio_from=5),
        note="one worker process of each, 64 lanes of 64 orgs waiting, the same backend on a raw socket, a store with "
        "appendfsync always, results kept. APX: order within a lane, fairness by org, a lease, one result for each, "
        "judged addresses, a log line. Peer: acks_late, a pooled urllib3 client, prefetch 16, no events, gossip or "
        f"heartbeat, no order; the best of {', '.join(POOLS)} on this machine.",
    )


def _ours(platform: Platform, backend: Backend, count: int) -> float:
    pid = platform.kill("worker", signal.SIGSTOP)
    try:
        last = uvloop.run(_fill(platform, count))
        before = backend.count()
    finally:
        if platform.pid("worker") == pid:
            platform.kill("worker", signal.SIGCONT)
    rate = backend.rate(count, before)
    uvloop.run(_check(platform, last))
    return rate


async def _fill(platform: Platform, count: int) -> Envelope:
    """Queue requests under the live release; return the last."""
    client = connect(f"unix://{platform.home / 'run' / 'valkey.sock'}")
    bus = ValkeyBus(client)
    try:
        release = (await ValkeyRollouts(client).read()).products["orders"].stable
        waiting = [envelope(number, release=release) for number in range(count)]
        for start in range(0, count, 1_000):
            await asyncio.gather(*(bus.publish(one) for one in waiting[start : start + 1_000]))
        return waiting[-1]
    finally:
        await bus.aclose()
        await client.aclose()


async def _check(platform: Platform, last: Envelope) -> None:
    """Make sure that the work was done."""
    client = connect(f"unix://{platform.home / 'run' / 'valkey.sock'}")
    results = ValkeyResults(client)
    try:
        found = await results.wait(last.id, 10.0)
    finally:
        await results.aclose()
        await client.aclose()
    if not isinstance(found, Result) or found.state != "succeeded":
        raise NotMeasured(f"the last request ended as {msgspec.to_builtins(found)}")


def _best_pool(bench: Bench, backend: Backend, store: Path, count: int) -> str:
    """Return the peer's pool that does most here."""
    rates = {}
    for pool, options in POOLS.items():
        rates[pool] = _celery(bench, backend, store, options, count)
        bench.say(f"Celery, {pool}: {rates[pool]:.0f} req/s")
    return max(rates, key=lambda pool: rates[pool])


def _celery(bench: Bench, backend: Backend, store: Path, options: Sequence[str], count: int) -> float:
    environment = {"PEER_STORE": str(store), "PEER_BACKEND": f"127.0.0.1:{backend.port}"}
    _await(bench.start(*peer_python("tests.bench.peer.fill", str(count)), env=environment, log="fill"))
    before = backend.count()
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR")
    command = peer_python("celery", "--app", "tests.bench.peer.orders_tasks", "worker", *options, *quiet)
    worker = bench.start(*command, env=environment, log="celery")
    try:
        return backend.rate(count, before)
    finally:
        end(worker)


def _await(process: subprocess.Popen[bytes]) -> None:
    if process.wait(MOST_S) != 0:
        raise NotMeasured(f"the peer's queue could not be filled: exit {process.returncode}")
