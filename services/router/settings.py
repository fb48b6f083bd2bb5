"""Settings of the router process."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from apx.limits.leases import STORE_TIMEOUT_S
from apx.settings import Settings


class RouterSettings(Settings):
    """Where the router listens and what it bounds."""

    router_socket: Path | None = None
    """Unix socket that the edge connects to; empty: `<home>/run/router.sock`."""
    router_port: int = Field(default=8082, ge=0, le=65535)
    """Health and metrics on `router_host`; 0: any free port."""
    router_host: str = "127.0.0.1"
    region: Literal["us", "eu"] = "us"
    max_wait_s: float = Field(default=60.0, gt=0, le=300)
    """Longest `Prefer: wait`."""
    drain_s: float = Field(default=10.0, ge=0)
    """How long requests under way may take after SIGTERM."""
    router_most_work: int = Field(default=256, ge=1)
    """Requests that may be worked on at once; a plan of lower priority has its share of it. Below what the edge sends
    at once (`APX_EDGE_ROUTER_REQUESTS`), so that priorities decide before the edge does."""
    router_least_work: int = Field(default=32, ge=1)
    """How far a late event loop lowers that."""
    router_late_s: float = Field(default=0.002, gt=0)
    """How long what is ready may wait for the event loop, as a standing state."""
    router_limits_timeout_s: float = Field(default=STORE_TIMEOUT_S, gt=0, le=5)
    """How long a request waits for the limit store, before its plan's `when_limits_are_away` holds."""
    log_requests: bool = True
    """One canonical line per request."""

    @property
    def socket(self) -> Path:
        """Return the Unix socket to listen on."""
        return self.router_socket or self.home / "run" / "router.sock"
