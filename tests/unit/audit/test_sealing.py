"""Checkpoints are made of what was verified, and of nothing else."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from apx.audit.checkpoint import Seals
from apx.audit.entry import Change, Entry, Head, chained
from apx.audit.sealing import Sealer
from apx.audit.select import Page, Wanted, newest, oldest
from apx.audit.verify import MOST_UNSEALED, verify_store
from apx.backends.memory.audit import MemoryAudit
from apx.errors import Conflict, Unavailable
from tests.unit.admission.until import until

SEALS = Seals(b"s" * 32)


async def log(count: int) -> MemoryAudit:
    store = MemoryAudit()
    for n in range(count):
        actor, product = ("ann", "orders") if n % 2 else ("bob", "exports")
        change = Change(action=f"rollout-{n}", actor=actor, subject=f"n {n}", product=product)
        await store.append([change])
    return store


def rewrite(store: MemoryAudit) -> None:
    """Do what somebody does who can write the store, and knows how the hashes are made."""
    changes = [Change(action="nothing", actor="nobody", subject="") for _ in store._entries]  # noqa: SLF001
    store._entries = chained(Head(), changes, 1)  # noqa: SLF001
    last = store._entries[-1]  # noqa: SLF001
    store._head = Head(number=last.number, hash=last.hash, at_ms=last.at_ms)  # noqa: SLF001


async def test_a_sound_log_is_sealed_to_its_end() -> None:
    store = await log(5)
    made = await Sealer(store, SEALS).seal()
    assert (made.number, made.hash) == (5, (await store.head()).hash)
    assert await store.checkpoints() == [made]
    assert (await verify_store(store, SEALS)).sealed == 5


async def test_where_nothing_was_appended_the_last_one_stands() -> None:
    store = await log(5)
    sealer = Sealer(store, SEALS)
    assert await sealer.seal() == await sealer.seal()


@pytest.mark.parametrize("keep_checkpoints", [True, False])
async def test_a_rewritten_log_is_not_sealed(*, keep_checkpoints: bool) -> None:
    store = await log(5)
    sealer = Sealer(store, SEALS)
    made = await sealer.seal()
    rewrite(store)
    await store.append([Change(action="a", actor="b", subject="c")])
    if not keep_checkpoints:
        store._checkpoints.clear()  # noqa: SLF001 -- as above
    with pytest.raises(Conflict, match="not sound at 6"):
        await sealer.seal()
    found = (await verify_store(store, SEALS, [made])).findings
    assert [one.kind for one in found] == ["not-as-sealed"]


async def test_a_long_log_without_a_checkpoint_is_sealed_only_by_a_person() -> None:
    store = MemoryAudit()
    for _ in range(MOST_UNSEALED // 100 + 1):
        await store.append([Change(action="a", actor="b", subject="c")] * 100)
    with pytest.raises(Conflict, match="unsealed"):
        await Sealer(store, SEALS).seal()
    await Sealer(store, SEALS).seal(trusting=True)
    assert (await verify_store(store, SEALS)).sound


@pytest.mark.parametrize(
    ("failure", "level"), [(Conflict("not sound at 6"), "error"), (Unavailable("no answer"), "warning")]
)
async def test_a_log_that_is_not_sound_is_a_fault_and_a_store_that_is_away_is_not(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, level: str
) -> None:
    async def head() -> Head:
        raise failure

    store = await log(5)
    monkeypatch.setattr(store, "head", head)
    with capture_logs() as lines:
        sealing = asyncio.create_task(Sealer(store, SEALS).run())
        await until(lambda: len(lines) == 1)
        sealing.cancel()
        await asyncio.gather(sealing, return_exceptions=True)
    assert [(one["event"], one["log_level"]) for one in lines] == [("audit.not-sealed", level)]


async def test_a_checkpoint_under_another_secret_is_told_and_not_believed() -> None:
    store = await log(5)
    await store.keep(Seals(b"other" * 8).seal(await store.head()))
    report = await verify_store(store, SEALS)
    assert ([one.kind for one in report.findings], report.sealed) == (["forged"], 0)


async def test_the_newest_that_are_wanted_come_first_and_page_by_page() -> None:
    store = await log(1203)
    wanted = Wanted(actor="ann")
    first = await newest(store, wanted, 3)
    assert [one.number for one in first.entries] == [1202, 1200, 1198]
    assert [one.number for one in (await newest(store, wanted, 2, before=first.before)).entries] == [1196, 1194]
    whole = await newest(store, wanted, 10_000)
    assert (len(whole.entries), whole.before) == (601, 0)
    assert await newest(store, Wanted(actor="nobody"), 5) == Page([], 0)
    assert [one.number for one in (await newest(store, Wanted(), 1, before=2**53)).entries] == [1203]
    assert await newest(store, Wanted(since_ms=2**53), 5) == Page([], 0)


@settings(deadline=None, max_examples=30)
@given(
    entries=st.integers(0, 1_300),
    limit=st.integers(1, 700),
    look_at=st.integers(1, 1_500),
    actor=st.sampled_from(["", "ann", "nobody"]),
)
async def test_page_after_page_finds_each_once_whatever_is_looked_at(
    entries: int, limit: int, look_at: int, actor: str
) -> None:
    store, wanted = await log(entries), Wanted(actor=actor)
    found: list[Entry] = []
    before = pages = 0
    while pages == 0 or before:
        page = await newest(store, wanted, limit, before=before, look_at=look_at)
        assert len(page.entries) <= limit
        assert page.before < (before or entries + 1)
        found, before, pages = found + page.entries, page.before, pages + 1
    assert found == [one for one in reversed(await store.read(0, entries)) if wanted.fits(one)]


async def test_an_export_has_all_that_is_wanted_in_order() -> None:
    store = await log(1203)
    numbers = [one.number async for one in oldest(store, Wanted(product="orders", action="rollout-"))]
    assert numbers == list(range(2, 1204, 2))
    assert [one async for one in oldest(store, Wanted(orgs=frozenset({"acme"})))] == []


def test_a_checkpoint_is_written_as_it_is_read() -> None:
    made = SEALS.seal(Head(number=1))
    assert msgspec.json.decode(msgspec.json.encode(made), type=type(made)) == made
