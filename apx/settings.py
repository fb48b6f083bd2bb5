"""Settings that every process of APX shares: where its data is and where the store listens.

One frozen class per process derives from `Settings`; each value is an environment variable with the prefix `APX_`.
An unknown or wrong value stops the process with one readable message.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from apx.errors import Misconfigured


class Settings(BaseSettings):
    """What each process needs to find its data and the store."""

    model_config = SettingsConfigDict(env_prefix="APX_", frozen=True, extra="forbid")

    home: Path = Path(".apx")
    """Data folder: releases, blobs, keys, logs, last known good state."""
    valkey_url: str = ""
    """`redis://`, `rediss://` or `unix://` address of the store; empty: the embedded one's socket under `home`."""
    connect_to: str = ""
    """`host:port=address:port,…`: where a backend's name really listens, as in `curl --connect-to`."""
    otlp_endpoint: str = ""
    """OTLP over HTTP, for instance `http://127.0.0.1:4318`; empty: no spans are exported."""
    log_level: str = "info"

    @property
    def store_url(self) -> str:
        """Return the store's address, given or embedded."""
        return self.valkey_url or f"unix://{(self.home / 'run' / 'valkey.sock').absolute()}"

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises `Misconfigured` with one line per wrong value."""
        try:
            return cls()
        except ValidationError as error:
            raise Misconfigured("\n".join(_explain(dict(e)) for e in error.errors())) from error


def _explain(error: dict[str, Any]) -> str:
    name = "APX_" + "_".join(map(str, error["loc"])).upper()
    return f"{name}={os.environ.get(name, '')!r}: {error['msg']}"
