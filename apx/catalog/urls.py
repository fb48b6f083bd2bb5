"""Addresses of backends and key sets: what may stand in a product, judged before anything is looked up.

Stricter than RFC 3986: a form that two parsers could read differently is refused. The worker judges again when it
connects, by the address that the name then has.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

import msgspec

from apx.catalog.addresses import is_public, read_ipv4

_PLAIN = re.compile(r"[\x21-\x7e]+")
_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#\\]*)(?P<path>[^?#\\]*)(?P<rest>.*)")
_HOST_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(:(?P<port>.*))?")
_NAME = re.compile(
    r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,=:@%-]+)*")
_PRIVATE_DOMAINS = (
    ".localhost",
    ".local",
    ".internal",
    ".intranet",
    ".lan",
    ".home.arpa",
    ".in-addr.arpa",
    ".ip6.arpa",
)
_PORTS = range(1, 65_536)
_LONGEST_PORT = 5


class UrlRefused(ValueError):
    """An address that APX does not take; `code` is the mistake's, the message says why and the way out."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Url(msgspec.Struct, frozen=True):
    """An address that was found right."""

    scheme: str
    host: str
    """A name, or an IP address without brackets."""
    port: int
    path: str
    private: bool
    """Leads off the public internet, by what the host says of itself."""


def read_url(text: str) -> Url:
    """Read an `http://` or `https://` address. Raises `UrlRefused`."""
    if not _PLAIN.fullmatch(text):
        raise UrlRefused(
            "url-characters", "only printable ASCII is taken: write an international name in its xn-- form"
        )
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise UrlRefused("url-malformed", "this is no address: write http://host:port/path")
    scheme = parts["scheme"].lower()
    if scheme not in {"http", "https"}:
        raise UrlRefused("url-scheme", f"the scheme '{scheme}' is not taken: write http or https")
    if "@" in parts["authority"]:
        raise UrlRefused("url-user", "a user or password stands before the host: remove it")
    if parts["rest"]:
        raise UrlRefused("url-query", "there is a query, a fragment or a backslash: end with the path")
    host, port = _host_and_port(parts["authority"], scheme)
    name, private = _judge_host(host)
    return Url(scheme=scheme, host=name, port=port, path=_check_path(parts["path"]), private=private)


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    parts = _HOST_PORT.fullmatch(authority)
    if parts is None or not parts["host"]:
        raise UrlRefused("url-host", "there is no host that can be read: write host or host:port")
    port = parts["port"]
    if port is None:
        return parts["host"], 443 if scheme == "https" else 80
    if not port.isdigit() or len(port) > _LONGEST_PORT or int(port) not in _PORTS:
        raise UrlRefused("url-port", f"the port '{port[:20]}' is not right: write a number from 1 to 65535")
    return parts["host"], int(port)


def _judge_host(host: str) -> tuple[str, bool]:
    """Return the host and whether it is private by itself."""
    if host.startswith("["):
        return _judge_ipv6(host[1:-1])
    if host.endswith("."):
        raise UrlRefused("url-host", f"the host '{host}' ends with a dot: leave it out")
    try:
        number = read_ipv4(host)
    except ValueError as error:
        raise UrlRefused(
            "url-host", f"the host '{host[:60]}' looks like an IPv4 address and is none: correct it"
        ) from error
    if number is not None:
        return _judge_ipv4(host, number)
    if not _NAME.fullmatch(host):
        raise UrlRefused("url-host", f"the host '{host[:60]}' is not a name: write letters, digits, '-' and '.'")
    name = host.lower()
    return name, "." not in name or name.endswith(_PRIVATE_DOMAINS)


def _judge_ipv4(host: str, address: IPv4Address) -> tuple[str, bool]:
    if host != str(address):
        raise UrlRefused("url-host", f"the host '{host[:60]}' is the IPv4 address {address}: write it so")
    return host, not is_public(address)


def _judge_ipv6(text: str) -> tuple[str, bool]:
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise UrlRefused("url-host", f"the host '[{text[:60]}]' is not an IPv6 address: correct it") from error
    if address.scope_id is not None:
        raise UrlRefused("url-host", f"the host '[{text[:60]}]' names a network card: leave out '%' and what follows")
    return str(address), not is_public(address)


def _check_path(path: str) -> str:
    if path.endswith("/"):
        raise UrlRefused("url-path", "the address ends with '/': leave it out, the request's path starts with one")
    if not _PATH.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")) or "%2" in path.lower():
        raise UrlRefused(
            "url-path", f"the path '{path[:60]}' is not plain: write segments without '//', '.', '..' or %2F"
        )
    return path
