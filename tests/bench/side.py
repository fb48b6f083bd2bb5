"""One side of a comparison of loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psutil

from tests.bench.bench import Bench
from tests.bench.load import CONNECTIONS, drive
from tests.bench.row import Samples


class Side:
    """What is asked the same way in each round, and the processor time that its processes took for a request."""

    def __init__(
        self,
        bench: Bench,
        port: int,
        sent: Sequence[bytes],
        pids: Mapping[str, int],
        *,
        connections: int = CONNECTIONS,
    ) -> None:
        self._bench = bench
        self._connections = connections
        self._port = port
        self._sent = sent
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._cpu_us: dict[str, list[float]] = {name: [] for name in pids}

    def rate(self) -> float:
        before = self._cpu_s()
        load = drive(
            self._port,
            self._sent,
            seconds=self._bench.seconds,
            folder=self._bench.folder,
            connections=self._connections,
        )
        for name, after in self._cpu_s().items():
            self._cpu_us[name].append((after - before[name]) / load.requests * 1e6)
        return load.rate

    def warm_up(self) -> None:
        """Ask once for nothing: connections, caches, code."""
        self.rate()
        for values in self._cpu_us.values():
            values.clear()

    def cpu_us(self, name: str) -> Samples:
        return Samples(tuple(self._cpu_us[name]))

    def _cpu_s(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: found.user + found.system for name, found in times.items()}
