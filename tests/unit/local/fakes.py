"""Small processes in place of the platform's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from apx.local.parts import Parts
from apx.local.probes import HttpProbe
from apx.local.process import Process
from apx.local.settings import LocalSettings

SERVER = Path(__file__).with_name("server.py")


class FakeSeeded(msgspec.Struct, frozen=True):
    keys: dict[str, str]
    admin_token: str


def fake_seed(_: LocalSettings, __: Path, said: Callable[[str], None]) -> FakeSeeded:
    said("seeded")
    return FakeSeeded({"acme": "apx_demo"}, "admin")


def serving(name: str, port: int, *flags: str, first: bool = False, stop_s: int = 5, start_s: float = 30.0) -> Process:
    return Process(
        name=name,
        command=(sys.executable, str(SERVER), str(port), *flags),
        ready=HttpProbe("/healthz", port=port),
        first=first,
        stop_s=stop_s,
        start_s=start_s,
        address=f"http://127.0.0.1:{port}",
    )


def two(settings: LocalSettings) -> list[Process]:
    return [serving("store", settings.control_port, first=True), serving("edge", settings.edge_port)]


def unchecked(_: LocalSettings) -> None:
    """What the real platform needs, the fake one does not."""


def unprepared(_: LocalSettings) -> None:
    """No keys are read."""


def small(
    processes: Callable[[LocalSettings], Sequence[Process]] = two,
    seed: Callable[[LocalSettings, Path, Callable[[str], None]], FakeSeeded] = fake_seed,
) -> Parts:
    return Parts(check=unchecked, processes=processes, prepare=unprepared, seed=seed)
