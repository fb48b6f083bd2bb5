"""Settings of the monitor process."""

from __future__ import annotations

from pydantic import Field

from apx.settings import GitSettings


class MonitorSettings(GitSettings):
    """How often it looks, and for how long it leads without a word."""

    monitor_name: str = ""
    """Unique among living monitors; empty: host name and process id."""
    monitor_port: int = Field(default=8079, ge=0, le=65535)
    """Health and metrics on `monitor_host`; 0 turns them off."""
    monitor_host: str = "127.0.0.1"
    monitor_every_s: float = Field(default=1.0, gt=0, le=60)
    """Time between two looks."""
    monitor_lease_s: float = Field(default=5.0, gt=0, le=300)
    """A monitor that leads and falls silent is followed by another after this."""
