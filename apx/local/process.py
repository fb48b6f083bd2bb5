"""One process of the platform, declared."""

from __future__ import annotations

from typing import Literal

import msgspec

from apx.local.probes import FileProbe, HttpProbe, PingProbe

Stage = Literal["store", "beside", "seeded"]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What is started, when it counts as ready and how long it may take to stop."""

    name: str
    command: tuple[str, ...]
    ready: HttpProbe | PingProbe | FileProbe
    stage: Stage = "seeded"
    """`store`: started first, and awaited before the platform is seeded; `beside`: started first, awaited at the end;
    `seeded`: started once releases and keys are there. Within a stage all start at once; all stop one by one, the last
    of the table first."""
    environment: dict[str, str] = {}
    address: str = ""
    """Where it can be reached, for people."""
    start_s: float = 30.0
    """How long it may take to become ready."""
    stop_s: int = 5
    """How long it may take to exit after SIGTERM before it is killed."""
