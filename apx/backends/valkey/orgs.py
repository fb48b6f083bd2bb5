"""Orgs' states in Valkey: `apx:orgs` maps org → state, `apx:orgs:terms` org → terms. The `OrgStore` port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from valkey.asyncio import Valkey

from apx.admission.orgs import OrgState, OrgStore, OrgTerms, kept_state
from apx.backends.valkey.connection import unavailable
from apx.backends.valkey.feed import listen
from apx.backends.valkey.log import Log

_ORGS, _TERMS, _CHANNEL = "apx:orgs", "apx:orgs:terms", "apx:orgs:changed"


class ValkeyOrgs(OrgStore):
    """Each change is one transaction that also tells every process, and is on the store's disk when it returns."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._log = Log(client)

    async def find(self, org: str) -> OrgState | None:
        """Return an org's state."""
        with unavailable("looking up an org"):
            async with self._client.pipeline(transaction=True) as step:
                step.hget(_ORGS, org)
                step.hget(_TERMS, org)
                state, terms = await step.execute()
        return None if state is None and terms is None else kept_state(org, state, terms)

    async def put(self, state: OrgState) -> None:
        """Let a state hold from now on, its terms aside."""
        await self._put(_ORGS, state.org, msgspec.msgpack.encode(msgspec.structs.replace(state, terms=None)))

    async def put_terms(self, org: str, terms: OrgTerms) -> None:
        """Let terms hold from now on."""
        await self._put(_TERMS, org, msgspec.msgpack.encode(terms))

    async def _put(self, name: str, org: str, kept: bytes) -> None:
        with unavailable("changing an org"):
            async with self._client.pipeline(transaction=True) as step:
                step.hset(name, mapping={org: kept})
                step.publish(_CHANNEL, org)
                await step.execute()
            await self._log.settle()

    async def list_orgs(self) -> list[OrgState]:
        """Return all states, by org."""
        with unavailable("listing orgs"):
            async with self._client.pipeline(transaction=True) as step:
                step.hgetall(_ORGS)
                step.hgetall(_TERMS)
                states, terms = await step.execute()
        return [kept_state(org.decode(), states.get(org), terms.get(org)) for org in sorted({*states, *terms})]

    async def changes(self) -> AsyncIterator[str]:
        """Yield the name of each org that changed; an empty text first, and after two seconds without a change."""
        async for message in listen(self._client, _CHANNEL):
            yield "" if message is None else message.decode()
