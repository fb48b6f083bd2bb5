"""Where the platform keeps what it needs while it runs, under its data folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from apx.errors import Conflict, Misconfigured

SOCKET_PATH_BYTES = 103
"""What every system takes for a Unix socket's path (macOS: 104 with the closing NUL; Linux: 108)."""
LONGEST_SOCKET = "run/envoy-admin.sock"
UNUSABLE = frozenset('"%;\n\r')
"""Characters that supervisord's configuration gives a meaning of its own."""


class Folder(msgspec.Struct, frozen=True):
    """The data folder (`APX_HOME`), absolute."""

    root: Path

    @property
    def run(self) -> Path:
        """Return the folder of sockets, locks and what the supervisor reads."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """Return the folder of the processes' output."""
        return self.root / "logs"

    @property
    def valkey(self) -> Path:
        """Return the folder of the store's data."""
        return self.root / "valkey"

    @property
    def valkey_socket(self) -> Path:
        """Return the store's socket, where `apx.settings.Settings.store_url` looks for it."""
        return self.run / "valkey.sock"

    @property
    def router_socket(self) -> Path:
        """Return the socket between the edge and the router."""
        return self.run / "router.sock"

    @property
    def edge_admin_socket(self) -> Path:
        """Return the socket of Envoy's admin interface."""
        return self.root / LONGEST_SOCKET

    @property
    def supervisor_socket(self) -> Path:
        """Return the socket that the supervisor is driven by."""
        return self.run / "supervisor.sock"

    @property
    def record(self) -> Path:
        """Return the file that says what was started."""
        return self.run / "platform.json"

    def log(self, name: str) -> Path:
        """Return the file that holds a process's output."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Create the folders, for this user alone. Raises `Misconfigured` when the place cannot be used."""
        longest = self.root / LONGEST_SOCKET
        if (size := len(os.fsencode(longest))) > SOCKET_PATH_BYTES:
            raise Misconfigured(
                f"APX_HOME={self.root} is too long: the path of a Unix socket may have {SOCKET_PATH_BYTES} bytes, and "
                f"{longest} would have {size}. Choose a shorter APX_HOME."
            )
        if found := UNUSABLE & set(str(self.root)):
            raise Misconfigured(f"APX_HOME={str(self.root)!r} cannot be used: it has the character {min(found)!r}.")
        try:
            for folder in (self.root, self.run, self.logs, self.valkey):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(f"APX_HOME={self.root} cannot be written: {error}") from error

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Hold the right to start a platform here. Raises `Conflict` when somebody else holds it."""
        with (self.run / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Conflict(f"Another `up` is starting a platform in {self.root} at this moment.") from error
            yield
