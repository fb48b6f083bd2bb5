"""One process of the platform, declared."""

from __future__ import annotations

import msgspec

from apx.local.probes import FileProbe, HttpProbe, PingProbe


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What is started, when it counts as ready and how long it may take to stop."""

    name: str
    command: tuple[str, ...]
    ready: HttpProbe | PingProbe | FileProbe
    first: bool = False
    """Started and awaited before everything else. The others start all at once; all stop one by one, the last of the
    table first."""
    environment: dict[str, str] = {}
    address: str = ""
    """Where it can be reached, for people."""
    start_s: float = 90.0
    """How long it may take to become ready. Generous: one that cannot start is known by its restarts, long before."""
    stop_s: int = 5
    """How long it may take to exit after SIGTERM before it is killed."""
