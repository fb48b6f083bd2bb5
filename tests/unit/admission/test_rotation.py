from __future__ import annotations

import secrets
from typing import Any

import pytest

from apx.admission.identity import Identity
from apx.admission.issue import GRACE_S, MOST_GRACE_S, Holder, give_key, limit_key, rotate_key
from apx.admission.keys import KeyRecord, sha256_of
from apx.admission.terms import Terms
from apx.backends.memory.keys import MemoryKeys
from apx.catalog.model import Rate
from apx.clock import ManualClock
from apx.errors import Conflict, NotFound, Unsupported

HOLDER = Holder(org="acme", region="eu", plans={"orders": "free"})
RATE = Rate(per_second=5, burst=10)
TERMS = Terms(
    scopes={"orders": ("GET",)},
    allowlist=("203.0.113.0/24",),
    metadata={"team": "a"},
    note="n",
    rate=RATE,
    quotas={"day": 1000},
)


class Ring:
    """A store with one key, and who identifies by it."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryKeys(), ManualClock()
        self.identity = Identity(self.store, self.clock)

    async def give(self, terms: Terms = TERMS, environment: str = "live") -> tuple[str, KeyRecord]:
        return await give_key(self.store, HOLDER, environment=environment, terms=terms, clock=self.clock)

    async def rotate(self, key_id: str, **how: Any) -> Any:
        return await rotate_key(self.store, key_id, clock=self.clock, **how)

    async def knows(self, key: str) -> bool:
        """Ask as a process does that has heard of each change."""
        return await Identity(self.store, self.clock).identify(key) is not None


@pytest.fixture
def ring() -> Ring:
    return Ring()


async def test_both_keys_work_until_the_grace_is_over(ring: Ring) -> None:
    old, record = await ring.give()
    rotated = await ring.rotate(record.id, grace_s=60)
    assert (await ring.knows(old), await ring.knows(rotated.key)) == (True, True)
    ring.clock.advance(59.9)
    assert await ring.knows(old)
    ring.clock.advance(0.1)
    assert (await ring.knows(old), await ring.knows(rotated.key)) == (False, True)


async def test_the_new_key_has_the_terms_of_the_old_one(ring: Ring) -> None:
    old, record = await ring.give()
    rotated = await ring.rotate(record.id)
    assert rotated.key != old
    assert rotated.key.startswith("apx_live_")
    kept = ("org", "region", "plans", "scopes", "allowlist", "metadata", "note", "expires_ms", "environment")
    for name in (*kept, "rate", "quotas", "counted_as"):
        assert getattr(rotated.new, name) == getattr(record, name), name
    assert rotated.new.sha256 == sha256_of(rotated.key)


async def test_all_keys_that_rotations_made_of_one_are_counted_as_that_one(ring: Ring) -> None:
    _, first = await ring.give()
    second = (await ring.rotate(first.id)).new
    third = (await ring.rotate(second.id)).new
    assert [one.counted_as for one in (first, second, third)] == [first.id] * 3


async def test_limits_are_given_in_place_of_those_that_a_key_had(ring: Ring) -> None:
    _, record = await ring.give()
    limited = await limit_key(ring.store, record.id, None, {"month": 9, "hour": 9})
    assert await ring.store.named(record.id) == limited
    assert (limited.rate, list(limited.quotas)) == (None, ["hour", "month"])
    assert (await limit_key(ring.store, record.id, RATE, {"day": 1000})) == record
    assert (await limit_key(ring.store, record.id, RATE, {"day": 1000})) == record


async def test_limits_that_no_key_can_have_change_nothing(ring: Ring) -> None:
    _, record = await ring.give()
    with pytest.raises(Unsupported, match="quotas: day: 9 is under"):
        await limit_key(ring.store, record.id, RATE, {"day": 9})
    with pytest.raises(NotFound, match="key_9"):
        await limit_key(ring.store, "key_9", RATE, {})
    assert await ring.store.list_keys() == [record]


async def test_a_key_that_was_replaced_is_not_limited(ring: Ring) -> None:
    _, record = await ring.give()
    new = (await ring.rotate(record.id)).new
    with pytest.raises(Conflict, match=new.id):
        await limit_key(ring.store, record.id, RATE, {})


async def test_the_old_key_says_what_replaced_it_and_when_it_ends(ring: Ring) -> None:
    _, record = await ring.give()
    rotated = await ring.rotate(record.id)
    assert await ring.store.named(record.id) == rotated.old
    assert (rotated.old.replaced_by, rotated.old.expires_ms) == (
        rotated.new.id,
        int((ring.clock.time() + GRACE_S) * 1000),
    )


async def test_a_grace_does_not_make_a_key_live_longer(ring: Ring) -> None:
    soon = int(ring.clock.time() * 1000) + 5_000
    _, record = await ring.give(Terms(expires_ms=soon))
    assert (await ring.rotate(record.id)).old.expires_ms == soon


async def test_a_key_that_was_to_end_lives_as_long_again(ring: Ring) -> None:
    _, record = await ring.give(Terms(expires_ms=int(ring.clock.time() * 1000) + 100_000))
    ring.clock.advance(70)
    assert (await ring.rotate(record.id)).new.expires_ms == int(ring.clock.time() * 1000) + 100_000


async def test_without_grace_the_old_key_is_refused_at_once(ring: Ring) -> None:
    old, record = await ring.give()
    await ring.rotate(record.id, grace_s=0)
    assert not await ring.knows(old)


async def test_a_key_is_rotated_once(ring: Ring) -> None:
    _, record = await ring.give()
    rotated = await ring.rotate(record.id)
    with pytest.raises(Conflict, match=rotated.new.id):
        await ring.rotate(record.id)
    assert len(await ring.store.list_keys()) == 2


async def test_a_key_that_has_ended_is_not_rotated(ring: Ring) -> None:
    _, record = await ring.give(Terms(expires_ms=int(ring.clock.time() * 1000) + 1_000))
    ring.clock.advance(1)
    with pytest.raises(Conflict, match="expired"):
        await ring.rotate(record.id)


async def test_a_key_that_is_revoked_meanwhile_stays_so(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    old, record = await ring.give()
    named = ring.store.named

    async def slow(key_id: str) -> KeyRecord | None:
        found = await named(key_id)
        await ring.store.revoke(key_id)
        return found

    monkeypatch.setattr(ring.store, "named", slow)
    with pytest.raises(Conflict):
        await ring.rotate(record.id)
    assert not await ring.knows(old)
    assert await ring.store.list_keys() == []


async def test_an_unknown_key_is_not_rotated(ring: Ring) -> None:
    with pytest.raises(NotFound, match="key_9"):
        await ring.rotate("key_9")


@pytest.mark.parametrize("grace_s", [-1, MOST_GRACE_S + 1, float("inf"), float("nan")])
async def test_a_grace_is_bounded(ring: Ring, grace_s: float) -> None:
    _, record = await ring.give()
    with pytest.raises(Unsupported, match="grace"):
        await ring.rotate(record.id, grace_s=grace_s)


async def test_an_imported_key_is_replaced_by_one_of_ours(ring: Ring) -> None:
    foreign = KeyRecord(
        id="key_f",
        sha256=sha256_of("sk_live_" + secrets.token_hex(16)),
        org="acme",
        region="eu",
        plans={"orders": "free"},
        created_ms=0,
        prefix="sk_live_",
    )
    await ring.store.put(foreign)
    rotated = await ring.rotate("key_f", environment="live")
    assert (rotated.new.prefix, rotated.old.prefix) == ("", "sk_live_")
    assert rotated.key.startswith("apx_live_")
