"""Which orgs are suspended, and on which terms they are, known in this process without asking."""

from __future__ import annotations

import asyncio

import structlog

from apx.admission.orgs import NO_TERMS, OrgState, OrgStore, OrgTerms
from apx.errors import Unavailable

_RECONNECT_S = 0.5
_log = structlog.get_logger(__name__)


class Standing:
    """Follows the orgs' states.

    A suspension arrives by push, within milliseconds; one whose push was lost, with the next look, seconds later. While
    the store is away, what was known holds. Before anything is known, every org is `Unavailable`: none is let in that
    may be suspended. So is an org of which there are terms that this process could never read.
    """

    def __init__(self, store: OrgStore) -> None:
        self._store = store
        self._suspended: frozenset[str] | None = None
        self._terms: dict[str, OrgTerms] = {}
        self._unread: dict[str, str] = {}
        self._changed = asyncio.Event()

    def suspended(self, org: str) -> bool:
        """Tell whether an org is suspended. Does no I/O. Raises `Unavailable` before the first look."""
        if self._suspended is None:
            raise Unavailable("the orgs' states are not known yet")
        return org in self._suspended

    def terms(self, org: str) -> OrgTerms:
        """Return an org's terms, the same object while they hold; where there are none, it is bound to nothing.

        Raises `Unavailable` when there are some that could never be read.
        """
        known = self._terms.get(org)
        if known is not None:
            return known
        if org in self._unread:
            raise Unavailable(f"the terms of {org} cannot be read here: {self._unread[org]}")
        return NO_TERMS

    async def until_suspended(self, org: str) -> None:
        """Return once an org is suspended."""
        while self._suspended is None or org not in self._suspended:
            await self._changed.wait()

    async def look(self) -> None:
        """Ask the store for all. Raises `Unavailable`."""
        states = await self._store.list_orgs()
        self._terms = {state.org: terms for state in states if (terms := self._known_terms(state)) is not None}
        self._know(frozenset(state.org for state in states if state.suspended))

    async def _look_at(self, org: str) -> None:
        """Ask the store for one: a change of many comes one by one."""
        state = await self._store.find(org) or OrgState(org=org)
        terms = self._known_terms(state)
        if terms is not None:
            self._terms[org] = terms
        others = (self._suspended or frozenset()) - {org}
        self._know(others | {org} if state.suspended else others)

    def _know(self, suspended: frozenset[str]) -> None:
        if suspended != self._suspended:
            self._suspended = suspended
            self._changed.set()
            self._changed = asyncio.Event()

    def _known_terms(self, state: OrgState) -> OrgTerms | None:
        """Return an org's terms: the same object when they are the same, and the last ones when these are not read."""
        known = self._terms.get(state.org)
        if not state.unread:
            self._unread.pop(state.org, None)
            return known if known is state.terms or known == state.terms else state.terms
        if state.unread != self._unread.get(state.org):
            self._unread[state.org] = state.unread
            _log.error("orgs.terms-not-read", org=state.org, detail=state.unread)
        return known

    async def follow(self) -> None:
        """Keep up, until cancelled."""
        while True:
            try:
                async for org in self._store.changes():
                    await (self._look_at(org) if org and self._suspended is not None else self.look())
            except Unavailable:
                pass  # what was known holds
            except Exception:  # noqa: BLE001 -- whatever it was: the next look may go well
                _log.exception("orgs.not-followed")
            await asyncio.sleep(_RECONNECT_S)
