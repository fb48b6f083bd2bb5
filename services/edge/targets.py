"""A backend's URL, taken apart the way every part of the edge needs it."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

_PORTS = {"http": 80, "https": 443}


class Target(msgspec.Struct, frozen=True):
    """Scheme, host, port and path of a URL; the path without an end slash."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Return what the Host header says: without the scheme's own port (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def target(url: str) -> Target:
    """Take a URL apart. Raises `ValueError` when it is not an http(s) URL of a host."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not http(s)://host[:port][/path]")
    return Target(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], parts.path.rstrip("/"))
