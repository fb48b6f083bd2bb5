"""When a process is ready: each probe asks once, shortly, and says what is still missing."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Protocol

import msgspec

from apx.local.unix import UnixConnection

TIMEOUT_S = 2.0


class Probe(Protocol):
    """Asks a process whether it can do its work."""

    def missing(self) -> str:
        """Return an empty string when the process is ready, else what it lacks, for the operator."""
        ...


class HttpProbe(msgspec.Struct, frozen=True, tag="http"):
    """Ready when `GET path` answers 200, on a port of 127.0.0.1 or on a Unix socket."""

    path: str
    port: int = 0
    socket: str = ""

    def missing(self) -> str:
        """Ask once."""
        connection = UnixConnection(self.socket, TIMEOUT_S) if self.socket else _connection(self.port)
        try:
            connection.request("GET", self.path)
            answer = connection.getresponse()
            body = answer.read(200).decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException) as error:
            return f"GET {self.path}: {error!r}"
        finally:
            connection.close()
        return "" if answer.status == http.HTTPStatus.OK else f"GET {self.path} answers {answer.status} {body}".strip()


class PingProbe(msgspec.Struct, frozen=True, tag="ping"):
    """Ready when Valkey on this Unix socket answers PONG: it does so only once its data is loaded."""

    socket: str

    def missing(self) -> str:
        """Ask once."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            try:
                connection.connect(self.socket)
                connection.sendall(b"PING\r\n")
                answer = connection.recv(200)
            except OSError as error:
                return f"PING: {error}"
        return "" if answer == b"+PONG\r\n" else f"PING answers {answer.decode('ascii', 'replace').strip()}"


class FileProbe(msgspec.Struct, frozen=True, tag="file"):
    """Ready when a file is there that is not older than `since` (seconds since the epoch)."""

    path: str
    since: float = 0.0

    def missing(self) -> str:
        """Look once."""
        try:
            written = Path(self.path).stat().st_mtime
        except OSError:
            return f"{self.path} is not written yet"
        return "" if written >= self.since else f"{self.path} is left from an earlier run"


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
