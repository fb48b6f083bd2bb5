"""One question over HTTPS, and how it can go wrong."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Literal, Protocol
from urllib.parse import urlsplit

import msgspec

MOST_BYTES = 1 << 20
Trouble = Literal["", "name", "certificate", "connection"]


class Answer(msgspec.Struct, frozen=True):
    """What came back: a status, or the trouble on the way."""

    status: int = 0
    body: bytes = b""
    trouble: Trouble = ""
    detail: str = ""


class Web(Protocol):
    """Asks servers."""

    def ask(self, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
        """Get a URL, or post a body to it, once, within seconds; redirections are answers."""
        ...

    def addresses(self, host: str) -> frozenset[str]:
        """Return the IPv4 addresses of a name; none when it has none."""
        ...


class Https:
    """The real thing, which trusts whom this machine trusts."""

    def __init__(self, timeout_s: float = 10) -> None:
        self._timeout_s = timeout_s

    def ask(self, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
        """Ask, as `Web` promises."""
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=self._timeout_s)
        try:
            connection.request("GET" if body is None else "POST", parts.path or "/", body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read(MOST_BYTES))
        except socket.gaierror as error:
            return Answer(trouble="name", detail=str(error.strerror))
        except ssl.SSLError as error:
            return Answer(trouble="certificate", detail=str(error.reason))
        except (OSError, http.client.HTTPException) as error:
            return Answer(trouble="connection", detail=str(error) or type(error).__name__)
        finally:
            connection.close()

    def addresses(self, host: str) -> frozenset[str]:
        """Look a name up."""
        try:
            found = socket.getaddrinfo(host, 443, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            return frozenset()
        return frozenset(str(address[4][0]) for address in found)
