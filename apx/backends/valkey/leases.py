"""Leases in Valkey: `apx:lease:<name>` holds the holder's name until it expires. The `Leases` port."""

from __future__ import annotations

from valkey.asyncio import Valkey

from apx.backends.valkey.connection import Script


class ValkeyLeases:
    """Each call is one script. Not waited for on the disk: a lease that is lost with the power is taken anew."""

    def __init__(self, client: Valkey) -> None:
        self._lease = Script(client, "leases")

    async def hold(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take the lease or renew it; False while somebody else holds it."""
        return bool(await self._lease(name, holder, max(1, int(ttl_s * 1000))))

    async def release(self, name: str, holder: str) -> None:
        """Give the lease up, if it is ours."""
        await self._lease(name, holder, 0)
