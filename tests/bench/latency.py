"""What edge and router add to a call at a fixed rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.bench import sockets
from tests.bench.accept import check_answer, orders
from tests.bench.bench import Bench, NotMeasured
from tests.bench.load import request
from tests.bench.row import Goal, Row, Samples, interleaved, row
from tests.bench.sockets import Times
from tests.bench.trees import bench_tree

NAMES = (
    "latency-added-p50",
    "latency-added-p99",
    "latency-sync-p50",
    "latency-accept-p50",
    "latency-sync-p99",
    "latency-accept-p99",
)
RATE = 1_000.0
CONNECTIONS = 64
CITY = "/forecast/oslo"
HOW = (
    "1,000 requests a second, evenly spaced, over 64 connections, by the bundled generator; each timed from the moment "
    "at which it was due."
)


def rows(bench: Bench) -> Iterator[Row]:
    """Measure a synchronous product beside its bare backend, and the asynchronous accept by itself."""
    platform = bench.platform("apx", bench_tree(bench.folder / "gitops"), without=("worker",))
    edge, backend = platform.settings.edge_port, platform.settings.demo_port
    key = platform.keys["acme"]
    through, bare = request("GET", CITY, {"x-api-key": key}), request("GET", CITY, {})
    (order,) = orders(key, 1)
    for port, sent, status in ((edge, through, "200"), (backend, bare, "200"), (edge, order, "202")):
        check_answer(port, sent, status)
    runs: dict[str, list[Times]] = {"sync": [], "backend": [], "accept": []}

    def measure(name: str, port: int, sent: bytes) -> Callable[[], float]:
        def run() -> float:
            times = sockets.open_loop(port, [sent], connections=CONNECTIONS, seconds=bench.seconds, rate=RATE)
            if times.failed:
                raise NotMeasured(f"{name}: {times.failed} requests failed")
            runs[name].append(times)
            return times.percentile_ms(99)

        return run

    sides = {
        "backend": measure("backend", backend, bare),
        "sync": measure("sync", edge, through),
        "accept": measure("accept", edge, order),
    }
    for warm_up in sides.values():
        warm_up()
    for times in runs.values():
        times.clear()
    interleaved(sides, bench.rounds)
    sync, alone, accept = runs["sync"], runs["backend"], runs["accept"]
    for percent in (50, 99):
        added = [s.percentile_ms(percent) - b.percentile_ms(percent) for s, b in zip(sync, alone, strict=True)]
        yield row(
            f"latency-added-p{percent}",
            Samples(tuple(added)),
            unit="ms",
            goal=Goal(at_most=5) if percent == 99 else Goal(),
            note=f"`forecast` through Envoy and the router's admission (ext_authz), less the same call of its backend "
            f"in the same round. {HOW}",
        )
    for percent in (50, 99):
        yield row(
            f"latency-sync-p{percent}",
            _samples(sync, percent),
            _samples(alone, percent),
            unit="ms",
            peer="the bare backend",
            less_is_better=True,
            note="the two that the added latency is the difference of; the backend checks nothing.",
        )
        yield row(
            f"latency-accept-p{percent}",
            _samples(accept, percent),
            unit="ms",
            note=f"a durable 202 (appendfsync always); no worker runs. {HOW}",
        )


def _samples(runs: list[Times], percent: float) -> Samples:
    return Samples(tuple(times.percentile_ms(percent) for times in runs))
