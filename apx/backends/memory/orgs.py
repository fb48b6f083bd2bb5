"""Orgs' states in this process. The fake of the `OrgStore` port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from apx.admission.orgs import OrgState, OrgStore, OrgTerms

_LOOK_EVERY_S = 2.0


class MemoryOrgs(OrgStore):
    """A dictionary and the queues of those who listen."""

    def __init__(self) -> None:
        self._states: dict[str, OrgState] = {}
        self._listeners: set[asyncio.Queue[str]] = set()

    async def find(self, org: str) -> OrgState | None:
        """Return an org's state."""
        return self._states.get(org)

    async def put(self, state: OrgState) -> None:
        """Let a state hold from now on, its terms aside."""
        known = self._states.get(state.org)
        self._keep(msgspec.structs.replace(state, terms=known.terms if known else None))

    async def put_terms(self, org: str, terms: OrgTerms) -> None:
        """Let terms hold from now on."""
        self._keep(msgspec.structs.replace(self._states.get(org, OrgState(org=org)), terms=terms))

    def _keep(self, state: OrgState) -> None:
        self._states[state.org] = state
        for queue in self._listeners:
            queue.put_nowait(state.org)

    async def list_orgs(self) -> list[OrgState]:
        """Return all states, by org."""
        return [self._states[org] for org in sorted(self._states)]

    async def changes(self) -> AsyncIterator[str]:
        """Yield the name of each org that changed; an empty text first, and every two seconds."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield ""
            while True:
                org = ""
                try:
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        org = await queue.get()
                except TimeoutError:
                    pass
                yield org
        finally:
            self._listeners.discard(queue)
