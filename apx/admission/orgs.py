"""What holds for an org at run time: whether it is suspended. What it is, stands in its file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from apx.admission.keys import KeyStore
from apx.clock import Clock
from apx.errors import Conflict, NotFound


class OrgState(msgspec.Struct, frozen=True, kw_only=True):
    """The last thing that was decided about an org."""

    org: str
    suspended: bool = False
    at_ms: int = 0
    actor: str = ""
    why: str = ""


class OrgStore(Protocol):
    """States by org; an org without one is active.

    - `put` is durable when it returns, and every process hears of it through `changes`; of two the later one holds.
    - `changes` never falls silent: what it misses while the store does is in `list_orgs`, which raises then.
    - A store that does not answer is `Unavailable`, never an active org.
    """

    async def find(self, org: str) -> OrgState | None:
        """Return an org's state; None when nothing was ever decided about it."""
        ...

    async def put(self, state: OrgState) -> None:
        """Let a state hold from now on."""
        ...

    async def list_orgs(self) -> list[OrgState]:
        """Return all states, by org."""
        ...

    def changes(self) -> AsyncIterator[str]:
        """Yield each org that changed; an empty text at first and each few seconds: time to look at all."""
        ...


class KnownOrg(msgspec.Struct, frozen=True, kw_only=True):
    """An org as operators see it."""

    state: OrgState
    keys: int
    """That are not revoked."""


async def known_orgs(orgs: OrgStore, keys: KeyStore) -> list[KnownOrg]:
    """Return the orgs that have a key or a state, by name. Raises `Unavailable`."""
    counted: dict[str, int] = {}
    for record in await keys.list_keys():
        counted[record.org] = counted.get(record.org, 0) + 1
    states = {state.org: state for state in await orgs.list_orgs()}
    return [
        KnownOrg(state=states.get(org) or OrgState(org=org), keys=counted.get(org, 0))
        for org in sorted({*counted, *states})
    ]


async def known_org(orgs: OrgStore, keys: KeyStore, org: str) -> KnownOrg:
    """Return one of them. Raises `NotFound` for an org that has neither, `Unavailable`."""
    held, state = await keys.list_keys(org), await orgs.find(org) if org else None
    if not held and state is None:
        raise NotFound(f"no org {org!r} has a key here; `apx org list` shows them")
    return KnownOrg(state=state or OrgState(org=org), keys=len(held))


async def suspend(orgs: OrgStore, keys: KeyStore, org: str, *, actor: str, why: str, clock: Clock) -> KnownOrg:
    """Refuse every request of an org from now on.

    Raises `NotFound`, `Conflict` when it is suspended already, `Unavailable`.
    """
    return await _decide(orgs, keys, OrgState(org=org, suspended=True, at_ms=_now(clock), actor=actor, why=why))


async def resume(orgs: OrgStore, keys: KeyStore, org: str, *, actor: str, why: str, clock: Clock) -> KnownOrg:
    """Let an org in again. Raises as `suspend` does."""
    return await _decide(orgs, keys, OrgState(org=org, suspended=False, at_ms=_now(clock), actor=actor, why=why))


def shown_org(known: KnownOrg) -> dict[str, object]:
    """Show operators what is known of an org."""
    shown = msgspec.to_builtins(known.state)
    return {"org": shown.pop("org"), "keys": known.keys, **shown}


async def _decide(orgs: OrgStore, keys: KeyStore, new: OrgState) -> KnownOrg:
    known = await known_org(orgs, keys, new.org)
    if known.state.suspended == new.suspended:
        since = f": by {known.state.actor}, {known.state.why}" if known.state.actor else ""
        raise Conflict(f"{new.org} is {'suspended' if new.suspended else 'active'} already{since}")
    await orgs.put(new)
    return msgspec.structs.replace(known, state=new)


def _now(clock: Clock) -> int:
    return int(clock.time() * 1000)
