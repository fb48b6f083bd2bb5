"""What is cleared away by the control process, and what stays."""

from __future__ import annotations

import asyncio

from apx.admission.keys import KeyRecord, KeyStore
from apx.audit.record import By, RecordedKeys, Recorder
from apx.backends.memory.audit import MemoryAudit
from apx.backends.memory.keys import MemoryKeys
from apx.clock import ManualClock
from apx.errors import Unavailable
from services.control.housekeeping import EXPIRED_KEPT_S, clear_keys

NOW_S = 1_700_000_000.0


class Counted(MemoryKeys):
    """Keys that say when they were all looked at; the store can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away: Exception | None = None
        self.looked = asyncio.Event()

    async def list_keys(self, org: str | None = None) -> list[KeyRecord]:
        self.looked.set()
        if self.away is not None:
            raise self.away
        return await super().list_keys(org)


def key(name: str, ended_for_s: float | None) -> KeyRecord:
    expires_ms = None if ended_for_s is None else int((NOW_S - ended_for_s) * 1000)
    return KeyRecord(
        id=name, sha256=name, org="acme", region="eu", plans={"orders": "free"}, created_ms=0, expires_ms=expires_ms
    )


async def cleared_once(keys: KeyStore, looked: asyncio.Event) -> None:
    """Let it run until it has looked at all keys, and sleeps."""
    clearing = asyncio.create_task(clear_keys(keys, ManualClock(NOW_S)))
    try:
        async with asyncio.timeout(5):
            await looked.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not clearing.done()
    finally:
        clearing.cancel()
        await asyncio.gather(clearing, return_exceptions=True)


async def test_a_key_that_expired_long_ago_goes_and_the_log_says_so() -> None:
    keys, log = Counted(), MemoryAudit()
    for record in (key("for-ever", None), key("ends-later", -1), key("ended", EXPIRED_KEPT_S - 1)):
        await keys.put(record)
    await keys.put(key("long-ago", EXPIRED_KEPT_S + 1))
    recorded = RecordedKeys(keys, Recorder(log, By(actor="apx", source="control")))
    await cleared_once(recorded, keys.looked)
    assert {record.id for record in await keys.list_keys()} == {"for-ever", "ends-later", "ended"}
    [entry] = await log.read()
    assert (entry.action, entry.subject, entry.actor) == ("key-revoke", "key long-ago", "apx")


async def test_a_store_that_is_away_or_unreadable_is_asked_again_another_day() -> None:
    for error in (Unavailable("away"), ValueError("no record")):
        keys = Counted()
        keys.away = error
        await cleared_once(keys, keys.looked)
