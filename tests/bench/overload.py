"""Twice as much as the router can do: what it still completes, and how late; and the same without shedding."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from apx.local.platform import Platform
from tests.bench import sockets
from tests.bench.accept import MANY, check_answer, orders
from tests.bench.bench import UNBOUNDED, Bench, NotMeasured
from tests.bench.row import Goal, Row, Samples, row
from tests.bench.sockets import Times
from tests.bench.trees import bench_tree

NAMES = ("overload-throughput", "overload-p99", "overload-router-cpu", "overload-throughput-off", "overload-p99-off")
CONNECTIONS = 384
"""As many as the edge opens."""
BUSY, UNLOADED, TIMES = 64, 0.2, 2.0
SETTLE_S = 1.0
_STATUSES = {202, 503}
LOAD = (
    "20,000 bodies in turn, none memoised, sent at twice the best rate whatever comes back, to the router's own socket "
    "over as many connections as the edge opens, by the bundled generator; each timed from the moment at which it was "
    "due, the first second not counted. Without the edge: two cores that also run Envoy and the load end before the "
    "router does. "
)
BEST = "the same platform's best: 64 clients that wait for their answers, without shedding."
OFF = "the same load, without shedding; what it takes in it answers in the end, seconds late."


class _Side:
    """One platform under loads, and the processor time that its router takes."""

    def __init__(self, bench: Bench, platform: Platform) -> None:
        self._bench = bench
        self._socket = platform.home / "run" / "router.sock"
        self._sent = orders(platform.keys["acme"], MANY)
        self._router = psutil.Process(platform.pid("router"))
        check_answer(platform.settings.edge_port, self._sent[0], "202")

    def closed(self) -> tuple[Times, float]:
        before = self._cpu_s()
        seconds = self._bench.seconds
        times = sockets.closed_loop(self._socket, self._sent, connections=BUSY, seconds=seconds)
        return times, self._cpu_s() - before

    def open(self, rate: float) -> tuple[Times, float]:
        before = self._cpu_s()
        seconds = self._bench.seconds + SETTLE_S
        times = sockets.open_loop(
            self._socket, self._sent, connections=CONNECTIONS, seconds=seconds, rate=rate, settle_s=SETTLE_S
        )
        if not times.latencies or not times.statuses.keys() <= _STATUSES:
            raise NotMeasured(f"at {rate:.0f} requests a second the answers were {times.statuses}")
        self._bench.say(f"{rate:.0f} req/s: {times.statuses}, p99 {times.percentile_ms(99):.1f} ms")
        return times, self._cpu_s() - before

    def _cpu_s(self) -> float:
        used = self._router.cpu_times()
        return float(used.user + used.system)


def rows(bench: Bench) -> Iterator[Row]:
    """Find the best rate and the unloaded time, then send twice as much to both, round by round."""
    without = ("worker", "demo")
    ours = _Side(bench, bench.platform("apx", bench_tree(bench.folder / "gitops"), without=without, env={}))
    off = _Side(bench, bench.platform("off", bench_tree(bench.folder / "gitops-off"), without=without, env=UNBOUNDED))
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    off.closed()  # warms up
    for _ in range(bench.rounds):
        times, used_s = off.closed()
        best = times.rate
        note("best", best)
        note("best-cpu", used_s / len(times.latencies) * 1e6)
        note("unloaded", ours.open(best * UNLOADED)[0].percentile_ms(99))
        for name, side in (("ours", ours), ("off", off)):
            times, used_s = side.open(best * TIMES)
            note(name, times.rate)
            note(f"{name}-p99", times.percentile_ms(99))
            note(f"{name}-cpu", used_s / (len(times.latencies) * (1 + SETTLE_S / bench.seconds)) * 1e6)
    yield from _told({name: Samples(tuple(values)) for name, values in found.items()})


def _told(found: dict[str, Samples]) -> Iterator[Row]:
    yield row(
        "overload-throughput",
        found["ours"],
        found["best"],
        unit="req/s",
        peer="its best",
        goal=Goal(ratio_from=0.9),
        note=f"202s a second. {LOAD}Peer: {BEST}",
    )
    yield row(
        "overload-p99",
        found["ours-p99"],
        found["unloaded"],
        unit="ms",
        peer="unloaded",
        goal=Goal(ratio_from=0.25),
        less_is_better=True,
        note="of the 202s. Peer: the same at a fifth of the best rate.",
    )
    yield row(
        "overload-router-cpu",
        found["ours-cpu"],
        found["best-cpu"],
        unit="µs",
        peer="at its best",
        goal=Goal(ratio_from=0.9),
        less_is_better=True,
        note="processor time of the router for each 202, that for its refusals with it: what is left for work when the "
        "router has a processor to itself.",
    )
    yield row("overload-throughput-off", found["ours"], found["off"], unit="req/s", peer="no shedding", note=OFF)
    yield row(
        "overload-p99-off",
        found["ours-p99"],
        found["off-p99"],
        unit="ms",
        peer="no shedding",
        less_is_better=True,
        note=OFF,
    )
