"""Settings of the worker process."""

from __future__ import annotations

from pydantic import Field

from apx.settings import Settings


class WorkerSettings(Settings):
    """How much one worker holds, and for how long."""

    worker_name: str = ""
    """Unique among living workers; empty: host name and process id."""
    worker_port: int = Field(default=8083, ge=0, le=65535)
    """Health and metrics on `worker_host`; 0 turns them off."""
    worker_host: str = "127.0.0.1"
    concurrency: int = Field(default=64, ge=1, le=10_000)
    """Most deliveries that this worker holds at a time."""
    lease_s: float = Field(default=15.0, gt=0)
    """How long a delivery is held without a word; what the bus was made with. Renewed each third of it, or second."""
    drain_s: float = Field(default=25.0, ge=0)
    """How long calls under way may take after SIGTERM; the rest is handed back."""
    log_requests: bool = True
    """One canonical line per finished request."""
