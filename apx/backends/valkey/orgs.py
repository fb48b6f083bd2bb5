"""Orgs' states in Valkey: `apx:orgs` maps org → state. The `OrgStore` port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import cast

import msgspec
from valkey.asyncio import Valkey

from apx.admission.orgs import OrgState
from apx.backends.valkey.connection import unavailable
from apx.backends.valkey.feed import listen
from apx.backends.valkey.log import Log

_ORGS, _CHANNEL = "apx:orgs", "apx:orgs:changed"


class ValkeyOrgs:
    """Each change is one transaction that also tells every process, and is on the store's disk when it returns."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._log = Log(client)

    async def find(self, org: str) -> OrgState | None:
        """Return an org's state."""
        with unavailable("looking up an org"):
            found = await cast("Awaitable[bytes | None]", self._client.hget(_ORGS, org))
        return None if found is None else _state(found)

    async def put(self, state: OrgState) -> None:
        """Let a state hold from now on."""
        with unavailable("changing an org"):
            async with self._client.pipeline(transaction=True) as step:
                step.hset(_ORGS, mapping={state.org: msgspec.msgpack.encode(state)})
                step.publish(_CHANNEL, state.org)
                await step.execute()
            await self._log.settle()

    async def list_orgs(self) -> list[OrgState]:
        """Return all states, by org."""
        with unavailable("listing orgs"):
            found = await cast("Awaitable[list[bytes]]", self._client.hvals(_ORGS))
        return sorted(map(_state, found), key=lambda state: state.org)

    async def changes(self) -> AsyncIterator[str]:
        """Yield the name of each org that changed; an empty text first, and after two seconds without a change."""
        async for message in listen(self._client, _CHANNEL):
            yield "" if message is None else message.decode()


def _state(kept: bytes) -> OrgState:
    return msgspec.msgpack.decode(kept, type=OrgState)
