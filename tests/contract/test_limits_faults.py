"""Limits while their store is restarted, hangs or is full, and while routers' clocks are wrong (docs/limits.md)."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, get_args

import pytest

from apx.clock import Clock
from apx.limits.leases import AWAY_S, Level, WhenAway
from apx.limits.windows import Window

from .conftest import Server, connected, until
from .limits_crowd import CLIENTS, RATE, ROUTERS, Crowd, Kind, crowd, failures, four_kinds, rate_of, shown

Fault = Literal["restarted", "restarted-empty", "hung", "cut-off", "full"]
MODES: tuple[WhenAway, ...] = get_args(WhenAway)
QUOTA = 2_500
BEFORE_S, FAULT_S, AFTER_S = 0.6, 1.8, 1.8
TIMEOUT_S = 0.25
"""For a store that stands on the same two cores as the 256 clients."""
LATE_S = 1.0
"""What a machine with two cores and 256 clients may be late by."""


class Way:
    """The way to a store, on which all that is sent can be lost."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tasks = set[asyncio.Task[None]]()
        self.cut = False

    @property
    def url(self) -> str:
        return f"unix://{self._server.folder / 'way.sock'}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._joined, self._server.folder / "way.sock"):
            yield
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(str(self._server.socket))
        except OSError:
            writer.close()
            return
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass_on(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(65_536):
                if not self.cut:
                    target.write(piece)
        except OSError:
            pass  # as a closed one
        finally:
            target.close()


class Away:
    """Makes a store fail, and whole again."""

    def __init__(self, server: Server, fault: Fault, way: Way) -> None:
        self._server = server
        self._fault = fault
        self._way = way

    async def begin(self) -> None:
        if self._fault == "cut-off":
            self._way.cut = True
        elif self._fault == "hung":
            self._server.signal(signal.SIGSTOP)
        elif self._fault == "full":
            await self._limit_memory("1")
        else:
            self._server.kill()

    async def end(self) -> None:
        if self._fault == "cut-off":
            self._way.cut = False
        elif self._fault == "hung":
            self._server.signal(signal.SIGCONT)
        elif self._fault == "full":
            await self._limit_memory("0")
        else:
            if self._fault == "restarted-empty":
                shutil.rmtree(self._server.folder / "appendonlydir")
            await asyncio.to_thread(self._server.start)

    async def _limit_memory(self, size_bytes: str) -> None:
        async with connected(self._server) as client:
            await client.config_set("maxmemory", size_bytes)


def most(fault: Fault, when_away: WhenAway, took_s: float, away_s: float, left: float) -> tuple[float, float]:
    """Return what docs/limits.md allows of the bucket and of the quota."""
    rate, quota = RATE.burst + RATE.per_second * took_s, float(QUOTA)
    if when_away == "local":  # four routers with a quarter each: the limit once more, and what was left
        rate += RATE.burst + RATE.per_second * (away_s + AWAY_S + LATE_S)
        quota += left
    if fault == "restarted-empty":
        rate, quota = rate + RATE.burst, quota + QUOTA
    return rate, quota


@pytest.mark.parametrize("fault", get_args(Fault))
async def test_no_limit_is_exceeded_and_nobody_waits_while_the_store_is_away(
    own_server: Server, fault: Fault, record_property: Callable[[str, str], None]
) -> None:
    told, way = failures(), Way(own_server)
    away = Away(own_server, fault, way)
    async with way.open(), crowd(way.url, four_kinds(QUOTA), timeout_s=TIMEOUT_S) as asking:
        await asyncio.sleep(BEFORE_S)
        left = {mode: asking.left(f"quota, {mode}") for mode in MODES}
        await away.begin()
        began, decided, asked = time.monotonic(), asking.decisions, calls(asking)
        await asyncio.sleep(FAULT_S)
        decided, asked = asking.decisions - decided, calls(asking) - asked
        await away.end()
        ended = time.monotonic()
        await until(lambda: all_answered_since(asking, ended))
        recovered_s = time.monotonic() - ended
        await asyncio.sleep(AFTER_S)
        await until(lambda: quotas_are_used_up(asking))

    rows, took_s = [], asking.took_s
    for mode in MODES:
        rate, requests = most(fault, mode, took_s, ended - began, left[mode])
        rows += [asking.row(f"rate, {mode}", rate), asking.row(f"quota, {mode}", requests)]
    said = shown(
        f"{fault}, {took_s:.1f} s of which away {ended - began:.1f} s",
        rows,
        f"in it {decided} decisions, {asked} questions; {asking.away.total()} refused as away, {asking.slow} slow; "
        f"again after {recovered_s:.2f} s; failures {dict(failures() - told)}",
    )
    record_property("limits", said)
    assert [row.over for row in rows] == [0] * 4, said
    assert asking.slow < 0.05 * asking.decisions, said  # what a busy machine makes late
    assert decided > ROUTERS * CLIENTS * FAULT_S / 0.25, said  # each client had an answer in a quarter of a second
    assert asked <= ROUTERS * 4 * (FAULT_S / AWAY_S + 2), said
    assert {bucket.split(", ")[1] for bucket, refused in asking.away.items() if refused} == {"closed"}, said
    assert (failures() - told)["timeout" if fault in {"hung", "cut-off"} else "unavailable"] > 0, said
    assert recovered_s < AWAY_S + LATE_S, said


def calls(asking: Crowd) -> int:
    return sum(store.calls for store in asking.stores)


async def quotas_are_used_up(asking: Crowd) -> bool:
    """Say whether only loans that were lost can be missing."""
    return all(asking.admitted[f"quota, {mode}"] > 0.8 * QUOTA for mode in MODES)


async def all_answered_since(asking: Crowd, since: float) -> bool:
    return all(store.answered_at > since for store in asking.stores)


@pytest.mark.timeout(120)
async def test_clocks_that_differ_change_no_total(own_server: Server) -> None:
    length_s, requests = 2.0, 300

    def quota(clock: Clock) -> Level:
        begins = clock.time() // length_s * length_s
        return Level("short", f"window {begins:.0f}", Window(requests, begins, begins + length_s), kind="quota")

    skews = (-5.0, -1.3, 1.3, 5.0)
    async with crowd(own_server.url, [rate_of("closed"), Kind(quota, "closed")], skews, timeout_s=1.0) as asking:
        await asyncio.sleep(6.5)
    took_s = asking.took_s
    rate = asking.row("rate, closed", RATE.burst + RATE.per_second * took_s)
    windows = [asking.row(bucket, requests) for bucket in sorted(asking.admitted) if bucket.startswith("window")]
    said = shown(f"clocks wrong by {skews} s, for {took_s:.1f} s", [rate, *windows])
    assert [row.over for row in (rate, *windows)] == [0] * (1 + len(windows)), said
    assert rate.admitted > 0.8 * rate.allows - RATE.burst, said  # beside whatever else the machine does
    assert len(windows) >= 8, said  # those of the slowest router's past and of the fastest one's future
    assert sum(row.admitted > 0.9 * requests for row in windows) >= 5, said
