from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.audit.checkpoint import Checkpoint, Seals
from apx.audit.entry import Change, Entry, Head, chained, hash_of, load
from apx.audit.verify import MOST_UNSEALED, Report, verify

SEALS = Seals(b"s" * 32)
TEXTS = ("action", "actor", "subject", "source", "org", "product", "before", "after", "why", "origin")


def head_of(entries: Sequence[Entry]) -> Head:
    return Head(number=entries[-1].number, hash=entries[-1].hash, at_ms=entries[-1].at_ms) if entries else Head()


def log(count: int, head: Head | None = None, actor: str = "ann") -> list[Entry]:
    changes = [Change(action="key-create", actor=actor, subject=f"key {n}") for n in range(count)]
    return chained(head or Head(), changes, 1_000)


def rehashed(entries: Sequence[Entry]) -> list[Entry]:
    """What somebody who can write the store makes of a changed log: every number and hash fits."""
    made: list[Entry] = []
    for one in entries:
        unbound = msgspec.structs.replace(one, number=len(made) + 1)
        previous = made[-1].hash if made else Head().hash
        made.append(msgspec.structs.replace(unbound, hash=hash_of(previous, unbound)))
    return made


def kinds(report: Report) -> set[str]:
    return {one.kind for one in report.findings}


@st.composite
def tampered(draw: st.DrawFn) -> tuple[list[Entry], list[Entry]]:
    """A log, and what one removal, edit, exchange, insertion, truncation or addition makes of it."""
    entries = log(draw(st.integers(2, 12)))
    at = draw(st.integers(0, len(entries) - 1))
    how = draw(st.sampled_from(["remove", "edit", "age", "swap", "insert", "truncate", "append"]))
    other = chained(Head(number=at), [Change(action="key-revoke", actor="bob", subject="key 0")], 1_000)[0]
    edited = {draw(st.sampled_from(TEXTS)): draw(st.sampled_from(["x", "é", " ", "key-create\n"]))}
    to = draw(st.integers(0, len(entries) - 1).filter(lambda to: to != at))
    swapped = list(entries)
    swapped[at], swapped[to] = swapped[to], swapped[at]
    outcomes = {
        "remove": entries[:at] + entries[at + 1 :],
        "edit": [*entries[:at], msgspec.structs.replace(entries[at], **edited), *entries[at + 1 :]],
        "age": [*entries[:at], msgspec.structs.replace(entries[at], at_ms=999), *entries[at + 1 :]],
        "swap": swapped,
        "insert": [*entries[:at], other, *entries[at:]],
        "truncate": entries[:at],
        "append": [*entries, *log(1, head_of(entries), "bob")],
    }
    return entries, outcomes[how]


@given(tampered())
def test_any_single_change_is_found(case: tuple[list[Entry], list[Entry]]) -> None:
    entries, found = case
    assert verify(entries, head_of(entries)).sound
    assert not verify(found, head_of(entries)).sound


@given(tampered(), st.booleans())
def test_behind_a_checkpoint_a_change_is_found_also_when_all_hashes_are_made_to_fit(
    case: tuple[list[Entry], list[Entry]],
    renumbered: bool,  # noqa: FBT001 -- drawn
) -> None:
    entries, found = case
    checkpoint = SEALS.seal(head_of(entries))
    found = rehashed(found) if renumbered else found
    if found[: len(entries)] == entries:  # what was added behind the checkpoint is the next one's to find
        return
    assert not verify(found, head_of(found), [checkpoint]).sound


@given(st.integers(0, 20))
def test_a_whole_log_is_sound(count: int) -> None:
    entries = log(count)
    sealed = [SEALS.seal(head_of(entries[:n])) for n in range(1, count + 1)]
    report = verify(entries, head_of(entries), sealed)
    assert (report.sound, report.entries, report.sealed) == (True, count, count)


def test_one_fault_is_told_once() -> None:
    entries = log(9)
    found = [*entries[:4], msgspec.structs.replace(entries[4], why="other"), *entries[5:]]
    (finding,) = verify(found, head_of(entries)).findings
    assert (finding.number, finding.kind) == (5, "edited")


def test_a_gap_is_told_by_its_place() -> None:
    entries = log(9)
    (finding,) = verify(entries[:4] + entries[6:], head_of(entries)).findings
    assert (finding.number, finding.kind, finding.detail) == (5, "removed", "2 missing before 7")


def test_a_rewritten_log_is_not_as_sealed() -> None:
    entries = log(9)
    rewritten = rehashed([msgspec.structs.replace(entries[0], actor="bob"), *entries[1:]])
    assert verify(rewritten, head_of(rewritten)).sound
    assert kinds(verify(rewritten, head_of(rewritten), [SEALS.seal(head_of(entries))])) == {"not-as-sealed"}


def test_two_genuine_checkpoints_of_one_number_do_not_hide_one_another() -> None:
    entries = log(9)
    rewritten = rehashed([msgspec.structs.replace(entries[0], actor="bob"), *entries[1:]])
    both = [SEALS.seal(head_of(entries)), SEALS.seal(head_of(rewritten))]
    for order in (both, both[::-1]):
        assert kinds(verify(rewritten, head_of(rewritten), order)) == {"not-as-sealed"}


def test_a_log_that_ends_before_a_checkpoint_is_cut_off() -> None:
    entries = log(9)
    assert kinds(verify(entries[:5], head_of(entries[:5]), [SEALS.seal(head_of(entries))])) == {"cut-off"}


def test_a_long_log_without_a_checkpoint_is_suspicious() -> None:
    entries = log(MOST_UNSEALED + 1)
    assert kinds(verify(entries, head_of(entries))) == {"unsealed"}
    assert verify(entries, head_of(entries), [SEALS.seal(head_of(entries[:1]))]).sound


def test_verification_can_begin_behind_a_trusted_head() -> None:
    entries = log(9)
    report = verify(entries[5:], head_of(entries), since=head_of(entries[:5]))
    assert (report.sound, report.entries) == (True, 4)
    assert not verify(entries[5:], head_of(entries), since=Head(number=5, hash="f" * 64)).sound


@pytest.mark.parametrize("field", ["number", "hash", "at_ms", "seal"])
def test_a_checkpoint_that_was_changed_is_not_genuine(field: str) -> None:
    made = SEALS.seal(Head(number=3, hash="a" * 64, at_ms=5))
    assert SEALS.genuine(made)
    changed: Checkpoint = msgspec.structs.replace(made, **{field: "é" if field in ("hash", "seal") else 4})
    assert not SEALS.genuine(changed)
    assert not Seals(b"t" * 32).genuine(made)


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b"\xff", b'{"number":1}'])
def test_what_is_no_entry_is_read_as_one_that_does_not_fit(kept: bytes) -> None:
    assert kinds(verify([load(1, kept)], Head())) >= {"edited"}


def test_texts_are_bounded_and_writable() -> None:
    (entry,) = chained(Head(), [Change(action="a", actor="\udcff" * 10, subject="s" * 10_000)], 1)
    assert (entry.actor, len(entry.subject)) == ("?" * 10, 500)


def test_a_clock_that_goes_back_does_not_take_the_log_along() -> None:
    entries = log(1)
    (later,) = chained(head_of(entries), [Change(action="a", actor="b", subject="c")], 1)
    assert later.at_ms == entries[0].at_ms
