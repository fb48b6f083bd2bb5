"""What people change is written down before it happens."""

from __future__ import annotations

import pytest

from apx.admission.issue import limit_key
from apx.admission.keys import KeyRecord
from apx.admission.orgs import OrgState, OrgTerms, apply_terms, resume, suspend
from apx.audit.entry import Change, Entry
from apx.audit.record import By, RecordedKeys, RecordedOrgs, Recorder
from apx.audit.store import Mirrored
from apx.backends.memory.audit import MemoryAudit
from apx.backends.memory.keys import MemoryKeys
from apx.backends.memory.orgs import MemoryOrgs
from apx.catalog.model import Rate
from apx.clock import ManualClock
from apx.errors import Conflict, NotFound, Unavailable

BY = By(actor="ann", source="10.0.0.1")
KEY = KeyRecord(
    id="key_1", sha256="f" * 64, org="acme", region="eu", plans={"orders": "free"}, created_ms=0, note="for ci"
)


class Away(MemoryAudit):
    async def append(self, changes: object, *, mirrored: Mirrored | None = None) -> list[Entry]:
        del changes, mirrored
        raise Unavailable("away")


class Broken(MemoryKeys):
    async def put(self, record: KeyRecord) -> None:
        del record
        raise Unavailable("the disk is full")


async def test_a_key_is_recorded_by_its_id_and_not_by_its_hash() -> None:
    log, keys = MemoryAudit(), MemoryKeys()
    recorded = RecordedKeys(keys, Recorder(log, BY))
    await recorded.put(KEY)
    assert await recorded.revoke("key_1") == KEY
    created, revoked = await log.read()
    assert (created.action, created.subject, created.org) == ("key-create", "key key_1", "acme")
    assert (created.actor, created.source, created.after, created.why) == ("ann", "10.0.0.1", "orders: free", "for ci")
    assert (revoked.action, revoked.before) == ("key-revoke", "orders: free")
    assert KEY.sha256 not in repr((created, revoked))


async def test_a_key_that_is_limited_is_recorded_with_both_limits() -> None:
    log, keys = MemoryAudit(), MemoryKeys()
    await keys.put(KEY)
    await limit_key(
        RecordedKeys(keys, Recorder(log, BY)), "key_1", Rate(per_second=5, burst=10), {"day": 99, "hour": 20}
    )
    await RecordedKeys(keys, Recorder(log, BY)).revoke("key_1")
    limited, revoked = await log.read()
    assert revoked.before == "orders: free; 5 a second (burst 10), 20 an hour, 99 a day"
    assert (limited.action, limited.subject, limited.org) == ("key-limit", "key key_1", "acme")
    assert (limited.before, limited.after) == ("", "5 a second (burst 10), 20 an hour, 99 a day")


async def test_revoking_what_is_not_there_is_no_change() -> None:
    log = MemoryAudit()
    assert await RecordedKeys(MemoryKeys(), Recorder(log, BY)).revoke("key_1") is None
    assert await log.read() == []


async def test_what_cannot_be_recorded_is_not_done() -> None:
    keys = MemoryKeys()
    with pytest.raises(Unavailable):
        await RecordedKeys(keys, Recorder(Away(), BY)).put(KEY)
    assert await keys.list_keys() == []


async def test_what_was_recorded_and_failed_is_said_to_have_failed() -> None:
    log = MemoryAudit()
    with pytest.raises(Unavailable, match="disk"):
        await RecordedKeys(Broken(), Recorder(log, BY)).put(KEY)
    assert [(one.action, one.why) for one in await log.read()] == [
        ("key-create", "for ci"),
        ("key-create-failed", "the disk is full"),
    ]


async def test_an_org_is_suspended_and_resumed_with_what_it_was_before() -> None:
    log, keys, clock = MemoryAudit(), MemoryKeys(), ManualClock()
    orgs = RecordedOrgs(MemoryOrgs(), Recorder(log, BY))
    await keys.put(KEY)
    suspended = await suspend(orgs, keys, "acme", actor="ann", why="unpaid", clock=clock)
    assert suspended.state == OrgState(
        org="acme", suspended=True, at_ms=int(clock.time() * 1000), actor="ann", why="unpaid"
    )
    with pytest.raises(Conflict, match="suspended already: by ann, unpaid"):
        await suspend(orgs, keys, "acme", actor="bob", why="again", clock=clock)
    await resume(orgs, keys, "acme", actor="ann", why="paid", clock=clock)
    with pytest.raises(Conflict, match="active already"):
        await resume(orgs, keys, "acme", actor="ann", why="again", clock=clock)
    assert [(one.action, one.before, one.after, one.why) for one in await log.read()] == [
        ("org-suspend", "active", "suspended", "unpaid"),
        ("org-resume", "suspended", "active", "paid"),
    ]


async def test_an_org_that_is_a_typing_mistake_is_not_suspended() -> None:
    log, keys = MemoryAudit(), MemoryKeys()
    await keys.put(KEY)
    orgs = RecordedOrgs(MemoryOrgs(), Recorder(log, BY))
    with pytest.raises(NotFound, match="'amce'"):
        await suspend(orgs, keys, "amce", actor="ann", why="unpaid", clock=ManualClock())
    assert await log.read() == []


async def test_new_terms_are_recorded_and_old_ones_are_not_given_again() -> None:
    log = MemoryAudit()
    orgs = RecordedOrgs(MemoryOrgs(), Recorder(log, BY))
    berlin, tokyo = OrgTerms(timezone="Europe/Berlin"), OrgTerms(timezone="Asia/Tokyo")
    assert [one.changed for one in await apply_terms(orgs, [("acme", berlin), ("globex", tokyo)])] == [True, True]
    assert [one.changed for one in await apply_terms(orgs, [("acme", berlin), ("globex", berlin)])] == [False, True]
    assert [(one.action, one.org, one.before, one.after) for one in await log.read()] == [
        ("org-terms", "acme", "none", '{"timezone":"Europe/Berlin"}'),
        ("org-terms", "globex", "none", '{"timezone":"Asia/Tokyo"}'),
        ("org-terms", "globex", '{"timezone":"Asia/Tokyo"}', '{"timezone":"Europe/Berlin"}'),
    ]


def test_a_change_has_no_field_that_was_not_thought_of_here() -> None:
    assert set(Change.__struct_fields__) == {
        *("action", "actor", "subject", "source", "org", "product"),
        *("before", "after", "why", "done_ms", "origin"),
    }
