"""Settings that every process of APX shares: where its data is and where the store listens.

One frozen class per process derives from `Settings`; each value is an environment variable with the prefix `APX_`.
An unknown or wrong value stops the process with one readable message.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

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
    valkey_iam: bool = False
    """With `gcp`: the store's password is this process's access token, as Memorystore with IAM asks for."""
    backends: Literal["local", "gcp"] = "local"
    """`local`: Valkey and files. `gcp`: Pub/Sub, Firestore and Cloud Storage, with Valkey (Memorystore) for what may be
    lost."""
    gcp_project: str = ""
    """Project of the stores; with `gcp`, required."""
    gcp_region: str = ""
    """Where this process runs, which is where its stores are; with `gcp`, required."""
    gcp_signing_key: str = ""
    """Cloud KMS key version that signs releases
    (`projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/1`); empty: the key in the home."""
    gcp_trusted_keys: str = ""
    """Further key versions that releases are trusted by, with commas: the one before, while a key is changed."""
    trusted_keys: Path | None = None
    """Folder of the public keys (PEM) that releases are trusted by; empty: the home's, with a pair of its own."""
    secrets: Path | None = None
    """Folder of the installation's secrets, each a file; empty: the home's, made on first use."""
    connect_to: str = ""
    """`host:port=address:port,…`: where a backend's name really listens, as in `curl --connect-to`."""
    webhook_loopback: bool = False
    """Let webhooks have addresses of this machine itself (http://127.0.0.1:9100/hook), as `./dev up` does."""
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


class GitSettings(Settings):
    """Where the repository of the gitops tree is, for a process that opens reverts: here, or on GitHub, or nowhere."""

    git_repository: str = ""
    """Path of a repository on this machine, bare or with a working tree (which is left alone)."""
    git_main: str = "main"
    """The branch that serves."""
    git_merge: bool = False
    """Make a revert the head of `git_main` at once; only in a bare repository on this machine."""
    git_name: str = "APX"
    """Who commits to a repository on this machine."""
    git_email: str = "apx@localhost"
    github_repository: str = ""
    """`owner/name`."""
    github_url: str = "https://api.github.com"
    """The API's address; of a GitHub Enterprise Server: `https://<host>/api/v3`."""
    github_token_file: str = ""
    """File with a token that may write contents and pull requests of the repository; read anew for each revert."""
    gitops_root: str = "gitops"
    """Path of the tree inside the repository; empty: the repository is the tree."""


def _explain(error: dict[str, Any]) -> str:
    name = "APX_" + "_".join(map(str, error["loc"])).upper()
    return f"{name}={os.environ.get(name, '')!r}: {error['msg']}"
