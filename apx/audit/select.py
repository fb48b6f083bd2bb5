"""Entries that somebody asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from apx.audit.entry import Entry
from apx.audit.store import AuditStore

_PAGE = 500


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; an empty field says nothing."""

    since_ms: int = 0
    product: str = ""
    org: str = ""
    actor: str = ""
    action: str = ""

    def fits(self, entry: Entry) -> bool:
        """Tell whether an entry is one of them."""
        asked = ((self.product, entry.product), (self.org, entry.org), (self.actor, entry.actor))
        return (
            entry.at_ms >= self.since_ms
            and all(wish in ("", value) for wish, value in asked)
            and entry.action.startswith(self.action)
        )


async def newest(store: AuditStore, wanted: Wanted, limit: int, *, before: int = 0) -> list[Entry]:
    """Return the newest entries that are wanted, newest first; only those in front of the number `before`, if given."""
    last = (await store.head()).number
    end = min(before - 1, last) if before else last
    found: list[Entry] = []
    while end > 0 and len(found) < limit:
        start = max(0, end - _PAGE)
        page = [one for one in await store.read(start, end - start) if one.number <= end]
        found += [one for one in reversed(page) if wanted.fits(one)]
        if page and page[0].at_ms < wanted.since_ms:
            break
        end = start
    return found[:limit]


async def oldest(store: AuditStore, wanted: Wanted) -> AsyncIterator[Entry]:
    """Yield all entries that are wanted, the oldest first."""
    number = 0
    while page := await store.read(number, _PAGE):
        for entry in page:
            if wanted.fits(entry):
                yield entry
        number = page[-1].number
