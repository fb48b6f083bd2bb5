"""`host:port=address:port,…`: where a backend's name really listens, as in `curl --connect-to`."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from apx.errors import Misconfigured

ConnectTo = Mapping[tuple[str, int], tuple[str, int]]
"""(name, port) → (address, port); an operator's own word, so the address guard does not judge it."""


def parse_connect_to(text: str) -> ConnectTo:
    """Read the setting `APX_CONNECT_TO`. Raises `Misconfigured`."""
    pairs = (pair.strip() for pair in text.split(","))
    return dict(_parse_pair(pair) for pair in pairs if pair)


def _parse_pair(pair: str) -> tuple[tuple[str, int], tuple[str, int]]:
    name, _, address = pair.partition("=")
    try:
        return _endpoint(name), _endpoint(address)
    except ValueError as error:
        message = f"APX_CONNECT_TO: {pair!r} is not host:port=address:port"
        raise Misconfigured(message) from error


def _endpoint(text: str) -> tuple[str, int]:
    parts: SplitResult = urlsplit(f"//{text.strip()}")
    if not parts.hostname or parts.port is None:
        raise ValueError(text)
    return parts.hostname, parts.port
