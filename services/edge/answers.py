"""What backends of synchronous products answered, from Envoy's lines (`answerlog.py`) to the judge's counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from apx.release.digest import short
from apx.release.model import Manifest
from apx.rollout.arms import Arms
from apx.rollout.counts import Tally
from services.edge.answerlog import FIELDS, TUNNEL
from services.edge.side_by_side import CANDIDATE_MARK

MOST_AGE_S = 60.0
"""Counts bear the time of their writing: what was answered longer ago belongs to no second that is still open."""
MOST_KNOWN = 10_000
"""Releases, also those that serve no more, whose last answers may still come."""
_NONE = "-"
_FAULT = 500
_SWITCHED = 101
_NO_ANSWER = frozenset(("UF", "UH", "UC", "UT", "UR", "UO", "URX", "UPE", "SI", "UMSDR"))
"""Envoy's response flags for a backend that did not answer: not reached, cut off, too late, more than it takes."""
_BROKE_OFF = frozenset(("UC", "UT", "UR", "UPE", "UMSDR"))
_GRPC_FAULTS = frozenset((2, 4, 12, 13, 14, 15))
"""gRPC's codes that stand for 5xx; its HTTP status is always 200."""


class Answer(msgspec.Struct, frozen=True):
    """The end of one call to a backend."""

    product: str
    release: str
    """Short digest."""
    org: str
    latency_s: float
    failed: bool
    broke_off: bool
    """It began well and was not brought to its end."""


class Answers:
    """Adds lines to a tally."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._releases: dict[tuple[str, str], tuple[str, bool]] = {}

    def serve(self, serving: Sequence[Arms[Manifest]]) -> None:
        """Know these releases from now on. Those before are remembered while their product is there."""
        now = {
            (manifest.product, short(digest)): (digest, manifest.spec.backend.streaming)
            for arms in serving
            for digest, manifest in arms.prepared().items()
        }
        self._releases = _newest(self._releases, {arms.stable.product for arms in serving}) | now

    def count(self, lines: Iterable[bytes], now_s: float) -> None:
        """Count what the lines say; `now_s` are seconds since the epoch. What cannot be read is passed over."""
        for line in lines:
            answer = read_line(line, now_s)
            if answer is None:
                continue
            digest, streams = self._releases.get((answer.product, answer.release), ("", False))
            if digest:
                failed = answer.failed or (answer.broke_off and not streams)  # a stream has no end to be brought to
                self._tally.answered(answer.product, digest, answer.org, latency_s=answer.latency_s, failed=failed)


def read_line(line: bytes, now_s: float) -> Answer | None:
    """Return what a line says of a backend; None where it says nothing, is too old, or is no line of ours."""
    parts = line.decode("latin-1").split(" ")
    if len(parts) != len(FIELDS):
        return None
    said = dict(zip(FIELDS, parts, strict=True))
    try:
        return _answer(said) if now_s - float(said["at_s"]) < MOST_AGE_S else None
    except ValueError:
        return None


def _answer(said: dict[str, str]) -> Answer | None:
    status, flags = int(said["status"]), set(said["flags"].split(","))
    if not _is_the_arms_own(said) or (status == _SWITCHED and said["type"] != TUNNEL):
        return None
    answered = said["answer_us"] != _NONE
    closed = flags == {_NONE} and status >= _FAULT  # a candidate that the edge cannot serve
    if not (answered or closed or flags & _NO_ANSWER):
        return None  # the client left first, or the edge refused the body
    grpc = said["grpc"]
    failed = not answered or status >= _FAULT or (grpc != _NONE and int(grpc) in _GRPC_FAULTS)
    return Answer(
        said["product"],
        said["release"],
        said["org"],
        _latency_s(said, answered=answered),
        failed=failed,
        broke_off=status != _SWITCHED and bool(flags & _BROKE_OFF),
    )


def _is_the_arms_own(said: dict[str, str]) -> bool:
    """Tell whether the arm's own backend answered, and not the stable one for a candidate not yet known here."""
    return said["arm"] != "candidate" or said["route"].endswith(CANDIDATE_MARK)


def _latency_s(said: dict[str, str], *, answered: bool) -> float:
    if answered:
        waited_ms = 0 if said["connection_ms"] == _NONE else int(said["connection_ms"])
        return int(said["answer_us"]) / 1e6 + waited_ms / 1e3
    return 0.0 if said["gave_up_us"] == _NONE else int(said["gave_up_us"]) / 1e6


def _newest(
    known: dict[tuple[str, str], tuple[str, bool]], products: set[str]
) -> dict[tuple[str, str], tuple[str, bool]]:
    kept = [(key, release) for key, release in known.items() if key[0] in products]
    return dict(kept[-MOST_KNOWN:])
