"""Whether the log is what was written: every entry in its place, none changed, none missing, none behind the head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from apx.audit.checkpoint import Checkpoint, Seals
from apx.audit.entry import Entry, Head, hash_of
from apx.audit.store import AuditStore

_PAGE = 500
MOST_UNSEALED = 1000
"""Entries behind the last checkpoint; more are a finding: somebody may have taken checkpoints away."""
_MOST_FINDINGS = 100

Kind = Literal["removed", "edited", "out-of-order", "cut-off", "behind-the-head", "not-as-sealed", "forged", "unsealed"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the log is not what was written."""

    number: int
    kind: Kind
    detail: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification has found."""

    entries: int
    sealed: int
    """Number of the last entry under a genuine checkpoint: up to here not even all of it can have been rewritten."""
    head: str
    """Hash of the last entry."""
    at_ms: int
    """Of the last entry."""
    findings: tuple[Finding, ...] = ()
    """The first hundred."""

    @property
    def sound(self) -> bool:
        """Tell whether nothing was found."""
        return not self.findings


class Verifier:
    """Takes entries in the order of their places, and says at the end what was wrong."""

    def __init__(self, since: Head | None = None, checkpoints: Iterable[Checkpoint] = ()) -> None:
        """Begin behind `since`, a head that is trusted; all `checkpoints` are taken for genuine."""
        self._last = since or Head()
        self._sealed: dict[int, set[str]] = {}
        for one in checkpoints:
            self._sealed.setdefault(one.number, set()).add(one.hash)
        self._reached = self._last.number
        self._seen = 0
        self._findings: list[Finding] = []

    @property
    def number(self) -> int:
        """Return the place of the last entry."""
        return self._last.number

    def see(self, entry: Entry) -> None:
        """Look at the next entry. After a fault it goes on from what is there, so that one fault is not told twice."""
        last, self._seen = self._last, self._seen + 1
        if entry.number <= last.number:
            self._found(entry.number, "out-of-order", f"stands behind {last.number}")
        elif entry.number > last.number + 1:
            self._found(last.number + 1, "removed", f"{entry.number - last.number - 1} missing before {entry.number}")
        elif hash_of(last.hash, entry) != entry.hash:
            self._found(entry.number, "edited", "its hash does not fit it and the entry before it")
        elif entry.at_ms < last.at_ms:
            self._found(entry.number, "out-of-order", "is older than the entry before it")
        sealed = self._sealed.get(entry.number)
        if sealed is not None:
            self._reached = max(self._reached, entry.number)
            if sealed != {entry.hash}:
                self._found(entry.number, "not-as-sealed", "a checkpoint says another hash: the log was rewritten")
        self._last = Head(number=entry.number, hash=entry.hash, at_ms=entry.at_ms)

    def end(self, head: Head) -> Report:
        """Compare with the head that the store holds, and with what was sealed beyond it."""
        last = self._last
        if head.number > last.number:
            self._found(last.number + 1, "cut-off", f"the head is at {head.number}")
        elif head.number < last.number:
            self._found(head.number + 1, "behind-the-head", f"the head is at {head.number}")
        elif head.hash != last.hash:
            self._found(last.number, "edited", "the head has another hash")
        for number in sorted(one for one in self._sealed if one > last.number):
            self._found(number, "cut-off", "a checkpoint was made here, and the log ends before it")
        if last.number - self._reached > MOST_UNSEALED:
            self._found(self._reached + 1, "unsealed", f"no genuine checkpoint among the {MOST_UNSEALED} entries since")
        findings = tuple(self._findings)
        return Report(entries=self._seen, sealed=self._reached, head=last.hash, at_ms=last.at_ms, findings=findings)

    def _found(self, number: int, kind: Kind, detail: str) -> None:
        if len(self._findings) < _MOST_FINDINGS:
            self._findings.append(Finding(number=number, kind=kind, detail=detail))


def verify(
    entries: Iterable[Entry], head: Head, checkpoints: Iterable[Checkpoint] = (), *, since: Head | None = None
) -> Report:
    """Verify a read. Pure: what comes behind `since` has to lead to `head`, past what genuine checkpoints say."""
    verifier = Verifier(since, checkpoints)
    for entry in entries:
        verifier.see(entry)
    return verifier.end(head)


async def verify_store(store: AuditStore, seals: Seals, outside: Sequence[Checkpoint] = ()) -> Report:
    """Verify the whole log with the checkpoints beside it, and with those that were kept elsewhere (`outside`)."""
    kept = [*await store.checkpoints(), *outside]
    report = await verify_since(store, Head(), filter(seals.genuine, kept))
    forged = tuple(
        Finding(number=one.number, kind="forged", detail="a checkpoint that this installation did not make")
        for one in kept
        if not seals.genuine(one)
    )
    return msgspec.structs.replace(report, findings=(*report.findings, *forged)[:_MOST_FINDINGS])


async def verify_since(store: AuditStore, since: Head, genuine: Iterable[Checkpoint] = ()) -> Report:
    """Verify what comes behind `since`, while others go on appending: the head is read after the entries."""
    verifier = Verifier(since, genuine)
    while True:
        page = await store.read(verifier.number, _PAGE)
        for entry in page:
            verifier.see(entry)
        if len(page) == _PAGE:
            continue
        head = await store.head()
        if head.number <= verifier.number or not await store.read(verifier.number, 1):
            return verifier.end(head)
