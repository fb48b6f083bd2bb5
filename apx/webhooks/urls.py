"""Which addresses a webhook may have: public ones over TLS, judged when it is saved, and again at each connection.

Nothing is looked up here, and no answer says where a name leads: that would let people ask about networks that are not
theirs.
"""

from __future__ import annotations

from ipaddress import ip_address

from apx.catalog.urls import Url, UrlRefused, read_url
from apx.errors import Unsupported

LONGEST = 2048
_HTTPS, _FIRST_OF_EVERYBODY = 443, 1024
_ONLY_PUBLIC = "this address is not on the public internet: give one that is"


def judge_url(text: str, *, loopback: bool) -> None:
    """Raise `Unsupported` unless a webhook may have this address; `loopback`: this machine's own may be had too."""
    if len(text) > LONGEST:
        raise Unsupported(f"url: {len(text)} characters are over {LONGEST}")
    try:
        url = read_url(text.removesuffix("/"))
    except UrlRefused as error:
        raise Unsupported(f"url: {error}") from error
    if loopback and _is_loopback(url):
        return
    if url.private:
        raise Unsupported(f"url: {_ONLY_PUBLIC}")
    if url.scheme != "https":
        raise Unsupported("url: deliveries go over TLS: write https")
    if url.port != _HTTPS and url.port < _FIRST_OF_EVERYBODY:
        raise Unsupported(f"url: the port {url.port} is another service's: write {_HTTPS} or one from 1024 on")


def leads_to_loopback(text: str) -> bool:
    """Tell whether an address is written as one of this machine's: a number, not a name."""
    try:
        return _is_loopback(read_url(text.removesuffix("/")))
    except UrlRefused:
        return False


def _is_loopback(url: Url) -> bool:
    try:
        return ip_address(url.host).is_loopback
    except ValueError:
        return False
