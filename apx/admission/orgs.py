"""What holds for an org at run time: whether it is suspended, and the terms that its file gave it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from typing import Protocol

import msgspec

from apx.admission.keys import KeyStore
from apx.catalog.model import Budget, Org, OrgQuota, OrgSpec, Rate
from apx.clock import Clock
from apx.errors import Conflict, NotFound
from apx.limits.budgets import Standing, read_budgets, spans_of
from apx.limits.store import LimitStore


class OrgTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an org's file says that holds at run time; no release carries it."""

    timezone: str = "UTC"
    rate: Rate | None = None
    quotas: tuple[OrgQuota, ...] = ()
    budgets: tuple[Budget, ...] = ()
    allowlist: tuple[str, ...] = ()
    entitlements: dict[str, str] = {}
    """Product → plan: what keys that the org gives itself may have. Those that operators give bring their own."""
    region: str = ""
    """Where requests with such a key are kept."""


NO_TERMS = OrgTerms()


class OrgState(msgspec.Struct, frozen=True, kw_only=True):
    """The last thing that was decided about an org, and its terms."""

    org: str
    suspended: bool = False
    at_ms: int = 0
    actor: str = ""
    why: str = ""
    terms: OrgTerms | None = None
    """None: no terms were ever given, or these cannot be read."""
    unread: str = ""
    """Why its terms cannot be read: they are those of a newer version."""


class OrgStore(Protocol):
    """States by org; an org without one is active.

    - `put` and `put_terms` are durable when they return, and every process hears of them through `changes`; of two the
      later one holds. Neither touches what the other wrote.
    - `changes` never falls silent: what it misses while the store does is in `list_orgs`, which raises then.
    - A store that does not answer is `Unavailable`, never an active org.
    """

    async def find(self, org: str) -> OrgState | None:
        """Return an org's state; None when nothing was ever decided about it."""
        ...

    async def put(self, state: OrgState) -> None:
        """Let a state hold from now on, its terms aside."""
        ...

    async def put_terms(self, org: str, terms: OrgTerms) -> None:
        """Let terms hold from now on."""
        ...

    async def list_orgs(self) -> list[OrgState]:
        """Return all states, by org."""
        ...

    def changes(self) -> AsyncIterator[str]:
        """Yield each org that changed; an empty text at first and each few seconds: time to look at all."""
        ...


def kept_state(org: str, state: bytes | None, terms: bytes | None) -> OrgState:
    """Return an org's state from what a store keeps (msgpack). Terms that cannot be read do not hide a suspension."""
    found = OrgState(org=org) if state is None else msgspec.msgpack.decode(state, type=OrgState)
    if terms is None:
        return found
    given, unread = _read(terms)
    return msgspec.structs.replace(found, terms=given, unread=unread)


@lru_cache(maxsize=20_000)
def _read(terms: bytes) -> tuple[OrgTerms | None, str]:
    """Return terms, or why they cannot be read. Kept: each process reads those of all orgs every few seconds."""
    try:
        return msgspec.msgpack.decode(terms, type=OrgTerms), ""
    except msgspec.ValidationError as error:
        return None, str(error)


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


class Applied(msgspec.Struct, frozen=True):
    """What became of an org's terms."""

    org: str
    before: OrgTerms | None
    after: OrgTerms

    @property
    def changed(self) -> bool:
        """Whether they were others, or none, before."""
        return self.before != self.after


async def apply_terms(orgs: OrgStore, wanted: Iterable[tuple[str, OrgTerms]]) -> list[Applied]:
    """Let orgs have these terms; those that have them already are left alone, and so are orgs that are not named.

    Raises `Unavailable`; then some may be changed, and the same again changes the rest.
    """
    states = {state.org: state for state in await orgs.list_orgs()}
    applied = [Applied(org, states[org].terms if org in states else None, terms) for org, terms in wanted]
    for one in applied:
        if one.changed:
            await orgs.put_terms(one.org, one.after)
    return applied


async def budgets_of(limits: LimitStore, org: str, terms: OrgTerms, clock: Clock) -> list[Standing]:
    """Return how an org's budgets stand now. Raises `Unavailable`."""
    spans = spans_of(terms.budgets, terms.timezone, clock.time())
    return await read_budgets(limits, [(org, budget, span) for budget, span in spans])


def terms_of(org: Org) -> tuple[str, OrgTerms]:
    """Return an org of the tree with its terms."""
    spec: OrgSpec = org.spec
    fields = {field: getattr(spec, field) for field in OrgTerms.__struct_fields__}
    return org.name, OrgTerms(**fields)


def shown_applied(applied: Applied) -> dict[str, object]:
    """Show operators what became of an org's terms."""
    return {"org": applied.org, "changed": applied.changed, "terms": msgspec.to_builtins(applied.after)}


def terms_text(terms: OrgTerms | None) -> str:
    """Return terms as one line, without what is left at its default."""
    return "none" if terms is None else msgspec.json.encode(terms, order="deterministic").decode()


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
