"""Names to addresses, each judged before a connection is made to it: what keeps calls off private networks.

The connector connects to the addresses that come out of here and looks nothing up again, so a name that changes its
mind between the judgement and the connection (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from apx.backends.http.connect_to import ConnectTo
from apx.catalog.addresses import is_public
from apx.requests.execution_call import AddressBlocked

Lookup = Callable[[str, int, socket.AddressFamily], Awaitable[list[ResolveResult]]]


class JudgedResolver(AbstractResolver):
    """Resolves through `lookup`; with `guard`, refuses a name as soon as one of its addresses is not public."""

    def __init__(self, connect_to: ConnectTo, *, guard: bool, lookup: Lookup | None = None) -> None:
        self._connect_to = connect_to
        self._guard = guard
        self._lookup = lookup or ThreadedResolver().resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        """Return where `host` may be reached. Raises `AddressBlocked`, or OSError when the name is not known."""
        mapped = self._connect_to.get((host, port))
        if mapped is not None:
            return await self._lookup(*mapped, family)
        found = await self._lookup(host, port, family)
        if self._guard:
            judge(host, [result["host"] for result in found])
        return found

    async def close(self) -> None:
        """Hold nothing."""


def judge(host: str, addresses: list[str]) -> None:
    """Raise `AddressBlocked` unless every address is public; the client is not told which one is not."""
    for address in addresses:
        if not is_public(address.partition("%")[0]):
            raise AddressBlocked(f"{host} leads to {address}, which is not public; allow_private is not set")
