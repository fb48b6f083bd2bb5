"""Entries that somebody asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from apx.audit.entry import Entry
from apx.audit.store import AuditStore

_PAGE = 500


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; an empty text says nothing."""

    since_ms: int = 0
    product: str = ""
    orgs: frozenset[str] | None = None
    """None is every org, and what concerns none."""
    actor: str = ""
    action: str = ""

    def fits(self, entry: Entry) -> bool:
        """Tell whether an entry is one of them."""
        asked = ((self.product, entry.product), (self.actor, entry.actor))
        return (
            entry.at_ms >= self.since_ms
            and (self.orgs is None or entry.org in self.orgs)
            and all(wish in ("", value) for wish, value in asked)
            and entry.action.startswith(self.action)
        )


class Page(msgspec.Struct, frozen=True):
    """Entries, newest first, and the number in front of which the next page begins: 0 when there is none."""

    entries: list[Entry]
    before: int


async def newest(store: AuditStore, wanted: Wanted, limit: int, *, before: int = 0, look_at: int | None = None) -> Page:
    """Return the newest entries that are wanted; only those in front of the number `before`, if given.

    Of `look_at` entries at most, if given: a page may hold fewer than `limit`, or none, with more in front of it.
    """
    last = (await store.head()).number
    end = min(before - 1, last) if before else last
    stop = 0 if look_at is None else max(0, end - look_at)
    found: list[Entry] = []
    while end > stop and len(found) < limit:
        start = max(stop, end - _PAGE)
        page = [one for one in await store.read(start, end - start) if one.number <= end]
        found += [one for one in reversed(page) if wanted.fits(one)]
        end = 0 if page and page[0].at_ms < wanted.since_ms else start
    if len(found) > limit:
        end = found[limit - 1].number - 1
    return Page(found[:limit], end + 1 if end > 0 else 0)


async def oldest(store: AuditStore, wanted: Wanted) -> AsyncIterator[Entry]:
    """Yield all entries that are wanted, the oldest first."""
    number = 0
    while page := await store.read(number, _PAGE):
        for entry in page:
            if wanted.fits(entry):
                yield entry
        number = page[-1].number
