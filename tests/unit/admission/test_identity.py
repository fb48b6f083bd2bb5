from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import msgspec
import pytest

from apx.admission.identity import Identity
from apx.admission.keys import KeyRecord, mint, sha256_of
from apx.backends.memory.keys import MemoryKeys
from apx.clock import ManualClock
from apx.errors import Misconfigured, Unavailable
from tests.unit.admission.until import turns, until


class Keys(MemoryKeys):
    """The fake, with ways to break it and to hold its answers back."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = asyncio.Event()
        self.followed = False
        self.fault: Exception = Unavailable("the feed broke")

    async def find(self, sha256: str) -> KeyRecord | None:
        found = await super().find(sha256)
        await self.gate.wait()
        if self.away:
            raise Unavailable("away")
        return found

    async def changes(self) -> AsyncIterator[str]:
        feed = super().changes()
        self.followed = True
        while True:
            upcoming = asyncio.ensure_future(anext(feed))
            broken = asyncio.ensure_future(self.broken.wait())
            try:
                await asyncio.wait({upcoming, broken}, return_when=asyncio.FIRST_COMPLETED)
                if broken.done():
                    self.followed = False
                    raise self.fault
                yield upcoming.result()
            finally:
                upcoming.cancel()
                broken.cancel()
                await asyncio.gather(upcoming, broken, return_exceptions=True)


def record_of(key: str, **changes: object) -> KeyRecord:
    record = KeyRecord(
        id=f"key_{secrets.token_hex(4)}",
        sha256=sha256_of(key),
        org="acme",
        region="eu",
        plans={"orders": "free"},
        created_ms=0,
    )
    return msgspec.structs.replace(record, **changes)


@pytest.fixture
def store() -> Keys:
    return Keys()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def identity(store: Keys, clock: ManualClock) -> Identity:
    return Identity(store, clock)


@pytest.fixture
async def following(identity: Identity, store: Keys) -> AsyncIterator[None]:
    task = asyncio.ensure_future(identity.follow())
    await until(lambda: store.followed)
    await turns()
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


KEY = mint("live", lambda size: bytes(range(size)))  # names of tests have it: the same in each process


async def test_a_known_key_is_its_record(identity: Identity, store: Keys) -> None:
    await store.put(record := record_of(KEY))
    assert await identity.identify(KEY) == record


async def test_an_unknown_key_is_nobody(identity: Identity) -> None:
    assert await identity.identify(KEY) is None


@pytest.mark.parametrize("typo", [KEY[:-1] + "!", KEY[:-1], "x" * 1_000_000, "", KEY + "\n", "\ud800"])
async def test_a_typo_is_refused_without_a_look_up(identity: Identity, store: Keys, typo: str) -> None:
    assert await identity.identify(typo) is None
    assert store.looked_up == 0


async def test_a_key_is_looked_up_once(identity: Identity, store: Keys) -> None:
    await store.put(record_of(KEY))
    for _ in range(10):
        await identity.identify(KEY)
    assert store.looked_up == 1


async def test_an_unknown_key_is_looked_up_once(identity: Identity, store: Keys) -> None:
    for _ in range(10):
        await identity.identify(KEY)
    assert store.looked_up == 1


async def test_what_is_known_is_asked_for_again_after_a_minute(
    identity: Identity, store: Keys, clock: ManualClock
) -> None:
    await identity.identify(KEY)
    clock.advance(60)
    await identity.identify(KEY)
    assert store.looked_up == 2


async def test_look_ups_of_one_key_at_one_time_are_one(identity: Identity, store: Keys) -> None:
    await store.put(record := record_of(KEY))
    store.gate.clear()
    asked = [asyncio.ensure_future(identity.identify(KEY)) for _ in range(100)]
    await until(lambda: store.looked_up > 0)
    store.gate.set()
    assert await asyncio.gather(*asked) == [record] * 100
    assert store.looked_up == 1


async def test_a_caller_that_goes_away_does_not_take_the_others_answer_with_it(identity: Identity, store: Keys) -> None:
    await store.put(record := record_of(KEY))
    store.gate.clear()
    first, second = (asyncio.ensure_future(identity.identify(KEY)) for _ in range(2))
    await until(lambda: store.looked_up > 0)
    first.cancel()
    store.gate.set()
    assert await second == record


async def test_a_store_that_is_away_is_not_an_unknown_key(identity: Identity, store: Keys) -> None:
    store.away = True
    with pytest.raises(Unavailable):
        await identity.identify(KEY)


async def test_a_store_that_was_away_is_asked_again(identity: Identity, store: Keys) -> None:
    await store.put(record := record_of(KEY))
    store.away = True
    with pytest.raises(Unavailable):
        await identity.identify(KEY)
    store.away = False
    assert await identity.identify(KEY) == record


async def test_a_cached_key_serves_while_the_store_is_away(identity: Identity, store: Keys) -> None:
    await store.put(record := record_of(KEY))
    await identity.identify(KEY)
    store.away = True
    assert await identity.identify(KEY) == record


async def test_an_expired_key_is_nobody_even_from_the_cache(
    identity: Identity, store: Keys, clock: ManualClock
) -> None:
    await store.put(record_of(KEY, expires_ms=int(clock.time() * 1000) + 1000))
    assert await identity.identify(KEY) is not None
    clock.advance(1)
    assert await identity.identify(KEY) is None


@pytest.mark.usefixtures("following")
async def test_a_revoked_key_is_forgotten_by_push(identity: Identity, store: Keys) -> None:
    await store.put(record := record_of(KEY))
    await identity.identify(KEY)
    await store.revoke(record.id)
    await until(lambda: isinstance(identity.recent(KEY), str))
    assert await identity.identify(KEY) is None


@pytest.mark.usefixtures("following")
async def test_a_key_that_was_unknown_is_known_once_it_is_put(identity: Identity, store: Keys) -> None:
    assert await identity.identify(KEY) is None
    await store.put(record := record_of(KEY))
    await until(lambda: isinstance(identity.recent(KEY), str))
    assert await identity.identify(KEY) == record


@pytest.mark.usefixtures("following")
async def test_a_key_revoked_while_it_is_looked_up_is_not_kept(identity: Identity, store: Keys) -> None:
    await store.put(record := record_of(KEY))
    store.gate.clear()
    asked = asyncio.ensure_future(identity.identify(KEY))
    await until(lambda: store.looked_up > 0)
    await store.revoke(record.id)
    await turns()
    store.gate.set()
    await asked
    assert await identity.identify(KEY) is None


@pytest.mark.usefixtures("following")
@pytest.mark.parametrize("fault", [Unavailable("away"), Misconfigured("a new password"), ValueError("unreadable")])
async def test_a_feed_that_breaks_empties_the_cache_and_is_followed_again(
    identity: Identity, store: Keys, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr("apx.admission.identity._RECONNECT_S", 0.01)
    await store.put(record_of(KEY))
    await identity.identify(KEY)
    store.fault = fault
    store.broken.set()
    await until(lambda: isinstance(identity.recent(KEY), str))
    store.broken.clear()
    await until(lambda: store.followed)


@pytest.mark.usefixtures("following")
async def test_an_answer_from_before_the_feed_broke_is_not_kept(identity: Identity, store: Keys) -> None:
    await store.put(record := record_of(KEY))
    store.gate.clear()
    asked = asyncio.ensure_future(identity.identify(KEY))
    await until(lambda: store.looked_up > 0)
    store.broken.set()
    await until(lambda: not store.followed)
    await turns()
    await store.revoke(record.id)
    store.gate.set()
    await asked
    assert await identity.identify(KEY) is None


async def test_the_cache_is_bounded(store: Keys, clock: ManualClock) -> None:
    identity = Identity(store, clock, most=10)
    keys = [mint("live", secrets.token_bytes) for _ in range(50)]
    for key in keys:
        await identity.identify(key)
    assert sum(isinstance(identity.recent(key), tuple) for key in keys) == 10


async def test_unknown_keys_do_not_push_a_known_one_out(store: Keys, clock: ManualClock) -> None:
    identity = Identity(store, clock, most=10)
    await store.put(record_of(KEY))
    await identity.identify(KEY)
    for _ in range(50):
        await identity.identify(mint("live", secrets.token_bytes))
    assert isinstance(identity.recent(KEY), tuple)


async def test_a_failed_look_up_leaves_no_unheard_error(
    identity: Identity, store: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    store.away = True
    store.gate.clear()
    asked = asyncio.ensure_future(identity.identify(KEY))
    await until(lambda: store.looked_up > 0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    store.gate.set()
    await turns()
    assert caplog.records == []


@pytest.fixture
async def cut_off(identity: Identity, store: Keys, following: None, monkeypatch: pytest.MonkeyPatch) -> KeyRecord:
    """A key that was known when the store, its feed included, went away."""
    del following
    monkeypatch.setattr("apx.admission.identity._RECONNECT_S", 0.01)
    await store.put(record := record_of(KEY))
    await turns()  # the change is heard
    await identity.identify(KEY)
    store.away = True
    store.broken.set()
    await until(lambda: isinstance(identity.recent(KEY), str))
    return record


async def test_a_key_that_was_known_goes_on_while_the_store_is_away(identity: Identity, cut_off: KeyRecord) -> None:
    assert await identity.identify(KEY) == cut_off


async def test_while_the_store_is_away_it_is_not_asked_for_each_request(
    identity: Identity, store: Keys, cut_off: KeyRecord
) -> None:
    before = store.looked_up
    assert [await identity.identify(KEY) for _ in range(20)] == [cut_off] * 20
    assert store.looked_up == before + 1


@pytest.mark.usefixtures("cut_off")
async def test_no_key_goes_on_for_ever_without_the_store(identity: Identity, clock: ManualClock) -> None:
    clock.advance(120.1)
    with pytest.raises(Unavailable):
        await identity.identify(KEY)


@pytest.mark.usefixtures("cut_off")
async def test_a_key_that_was_not_known_waits_for_the_store(identity: Identity) -> None:
    with pytest.raises(Unavailable):
        await identity.identify(mint("live", secrets.token_bytes))


async def test_what_was_revoked_meanwhile_is_refused_once_the_store_is_back(
    identity: Identity, store: Keys, clock: ManualClock, cut_off: KeyRecord
) -> None:
    await identity.identify(KEY)
    await store.revoke(cut_off.id)
    store.away = False
    clock.advance(0.6)
    assert await identity.identify(KEY) is None
    store.away = True
    assert await identity.identify(KEY) is None


FOREIGN = "sk_live_51H8-abc.def"


@pytest.fixture
async def declared(identity: Identity, store: Keys) -> AsyncIterator[None]:
    """A process that has heard of imported keys."""
    await store.declare("sk_live_")
    await store.put(record_of(FOREIGN, prefix="sk_live_"))
    task = asyncio.ensure_future(identity.follow())
    await until(lambda: isinstance(identity.recent(FOREIGN), str))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("declared")
async def test_an_imported_key_is_known(identity: Identity) -> None:
    found = await identity.identify(FOREIGN)
    assert found is not None
    assert found.sha256 == sha256_of(FOREIGN)


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    "text",
    [
        *(KEY[:-1] + "!", KEY[:-1] + ("0" if KEY[-1] != "0" else "1"), "x" * 1_000_000, ""),
        *("sk_test_51H8", "sk_live", "sk_live_" + "x" * 249, "sk_live_" + "x" * 1_000_000),
        *("sk_live_ü", "apx_sk_live_51H8", " " + FOREIGN),
    ],
    ids=lambda text: text[:20],
)
async def test_beside_imported_keys_a_typo_still_costs_no_look_up(identity: Identity, store: Keys, text: str) -> None:
    before = store.looked_up
    assert await identity.identify(text) is None
    assert store.looked_up == before


async def test_before_a_prefix_is_declared_nothing_with_it_is_looked_up(identity: Identity, store: Keys) -> None:
    await store.put(record_of(FOREIGN, prefix="sk_live_"))
    assert await identity.identify(FOREIGN) is None
    assert store.looked_up == 0


@pytest.mark.usefixtures("declared")
async def test_prefixes_that_cannot_be_read_stay_and_are_read_again(
    identity: Identity, store: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apx.admission.identity._RECONNECT_S", 0.01)
    prefixes, tried = store.prefixes, 0

    async def failing() -> set[str]:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise Unavailable("away")
        return await prefixes()

    monkeypatch.setattr(store, "prefixes", failing)
    await store.declare("zz_")
    await store.put(record_of("zz_1", prefix="zz_"))
    await until(lambda: tried >= 3)
    await turns()
    assert await identity.identify("zz_1") is not None
    assert await identity.identify(FOREIGN) is not None


async def test_a_key_of_another_environment_is_nobody(identity: Identity, store: Keys) -> None:
    await store.put(record_of(KEY))
    assert await identity.identify(KEY.replace("apx_live_", "apx_test_")) is None
    assert store.looked_up == 0


@pytest.fixture
async def opened(identity: Identity, store: Keys) -> AsyncIterator[asyncio.Future[None]]:
    """Something that lasts as long as a key that is good now."""
    await store.put(record := record_of(KEY))
    await turns()
    await identity.identify(KEY)
    ended = asyncio.ensure_future(identity.until_ended(record))
    await turns()
    yield ended
    ended.cancel()
    await asyncio.gather(ended, return_exceptions=True)


@pytest.mark.usefixtures("following")
async def test_what_is_open_hears_at_once_that_its_key_is_revoked(store: Keys, opened: asyncio.Future[None]) -> None:
    assert not opened.done()
    (record,) = await store.list_keys()
    await store.revoke(record.id)
    async with asyncio.timeout(1):
        await opened


@pytest.mark.usefixtures("following")
async def test_what_is_open_outlives_changes_of_other_keys_and_of_its_own(
    store: Keys, opened: asyncio.Future[None]
) -> None:
    (record,) = await store.list_keys()
    await store.put(record_of(mint("live", secrets.token_bytes)))
    await store.put(msgspec.structs.replace(record, note="another"))
    await turns(50)
    assert not opened.done()


@pytest.mark.usefixtures("following")
async def test_what_is_open_ends_when_its_keys_grace_is_over(
    store: Keys, clock: ManualClock, opened: asyncio.Future[None]
) -> None:
    (record,) = await store.list_keys()
    await store.put(msgspec.structs.replace(record, expires_ms=int(clock.time() * 1000) + 50))
    await turns()
    assert not opened.done()
    clock.advance(0.05)
    async with asyncio.timeout(1):
        await opened


@pytest.mark.usefixtures("following")
async def test_what_is_open_outlives_the_store(
    store: Keys, opened: asyncio.Future[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apx.admission.identity._RECONNECT_S", 0.01)
    store.away = True
    store.broken.set()
    await until(lambda: not store.followed)
    await turns(50)
    assert not opened.done()


async def test_what_is_open_looks_by_itself_where_no_change_is_heard(
    store: Keys, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, opened: asyncio.Future[None], identity: Identity
) -> None:
    opened.cancel()
    monkeypatch.setattr("apx.admission.identity.LOOK_AGAIN_S", 0.01)
    (record,) = await store.list_keys()
    again = asyncio.ensure_future(identity.until_ended(record))
    await turns()
    await store.revoke(record.id)
    clock.advance(61)  # what was cached is old
    async with asyncio.timeout(1):
        await again


async def test_nothing_is_kept_of_what_was_open(identity: Identity, opened: asyncio.Future[None]) -> None:
    opened.cancel()
    await asyncio.gather(opened, return_exceptions=True)
    assert identity._open == {}  # noqa: SLF001 -- what leaks cannot be seen from outside
