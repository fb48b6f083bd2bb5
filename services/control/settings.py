"""Settings of the control process."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from apx.catalog.model import Rate
from apx.settings import Settings


class ControlSettings(Settings):
    """Where the control API listens."""

    control_bind: str = "127.0.0.1"
    region: Literal["us", "eu"] = "us"
    """What replayed requests name in their ids."""
    iap_audience: str = ""
    """Behind Google's identity-aware proxy: whom its assertions are for, `/projects/NUMBER/global/backendServices/ID`,
    or `…/*` for every backend service of the project. Empty: its assertions are not believed."""
    iap_admins: str = ""
    """Addresses of the platform's admins, with commas. Whom the proxy lets through and none of these lists names may
    see and do what concerns the orgs that they are members of, and nothing else."""
    iap_operators: str = ""
    iap_viewers: str = ""
    """`*`: whomever the proxy lets through. Then it must let nobody through who is but a member of an org."""
    control_port: int = Field(default=8081, ge=1, le=65535)
    control_idle_timeout_s: int = Field(default=60, ge=1)
    """A connection without a request."""
    control_calls_per_second: float = Field(default=50.0, gt=0, le=100_000)
    """What one caller may go on with, at each control process."""
    control_calls_burst: int = Field(default=500, ge=1, le=1_000_000)
    """What one caller may make at once after a pause."""
    drain_s: int = Field(default=5, ge=1)
    """How long requests under way may take after SIGTERM."""

    @property
    def rate(self) -> Rate:
        """Return how often one caller may call."""
        return Rate(per_second=self.control_calls_per_second, burst=self.control_calls_burst)
