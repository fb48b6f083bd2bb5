"""What the demo backend received: an append-only list that can be read while it grows."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from pathlib import Path
from typing import Literal, TextIO

import msgspec

KEEP = 500_000
"""Most entries kept; the oldest go first."""
TEXT_BYTES = 200
"""How much of a body is shown as text."""

Outcome = Literal["started", "finished", "cancelled", "closed"]
Pairs = tuple[tuple[str, str], ...]

_UNINTERESTING = frozenset({b"accept", b"accept-encoding", b"connection", b"content-length", b"user-agent"})
_SECRET = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"x-api-key"})


class Entry(msgspec.Struct, kw_only=True):
    """One request as it came, and how it ended."""

    n: int
    received_ms: int
    method: str
    path: str
    query: str
    headers: Pairs
    """Lower-case names; of credentials only that they came."""
    body_bytes: int = 0
    body_sha256: str = ""
    body_text: str = ""
    outcome: Outcome = "started"
    """`cancelled`: the client went away first; `closed`: the demo backend cut the connection on purpose."""
    status: int = 0
    ended_ms: int = 0


class Record:
    """The list of entries; with `file`, each start and each end is also a line there, read back by the next process."""

    def __init__(self, file: Path | None = None, keep: int = KEEP) -> None:
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._next = 0
        self._encode = msgspec.json.Encoder().encode
        self._file: TextIO | None = None
        if file is not None:
            self._read_back(file)
            self._file = file.open("a", encoding="utf-8")
            self._file.write("\n")  # after what may be half a line

    def begin(self, method: str, path: str, query: str, raw_headers: tuple[tuple[bytes, bytes], ...]) -> Entry:
        """Append an entry for a request whose head has arrived."""
        entry = Entry(
            n=self._next,
            received_ms=_now_ms(),
            method=method,
            path=path,
            query=query,
            headers=_selected(raw_headers),
        )
        self._next += 1
        self._entries.append(entry)
        self._persist(entry)
        return entry

    def body(self, entry: Entry, body: bytes) -> None:
        """Note what body came with it."""
        entry.body_bytes = len(body)
        if body:
            entry.body_sha256 = hashlib.sha256(body).hexdigest()
            entry.body_text = body[:TEXT_BYTES].decode("utf-8", "replace")

    def end(self, entry: Entry, outcome: Outcome, status: int = 0) -> None:
        """Note how it ended."""
        entry.outcome = outcome
        entry.status = status
        entry.ended_ms = _now_ms()
        self._persist(entry)

    def page(self, since: int, limit: int) -> bytes:
        """Return up to `limit` entries with `n >= since`, as JSON lines."""
        first = self._entries[0].n if self._entries else 0
        start = max(0, since - first)
        chosen = (self._entries[i] for i in range(start, min(len(self._entries), start + limit)))
        return b"".join(self._encode(entry) + b"\n" for entry in chosen)

    def clear(self) -> None:
        """Forget everything; numbers go on from where they were."""
        self._entries.clear()
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _persist(self, entry: Entry) -> None:
        if self._file is not None:
            self._file.write(self._encode(entry).decode() + "\n")
            self._file.flush()

    def _read_back(self, file: Path) -> None:
        if not file.exists():
            return
        decode = msgspec.json.Decoder(Entry).decode
        entries: dict[int, Entry] = {}
        for line in file.read_bytes().splitlines():
            try:
                entry = decode(line)
            except msgspec.DecodeError:
                continue  # the last line of a killed process may be half written
            entries[entry.n] = entry
        self._entries.extend(entries[n] for n in sorted(entries))
        self._next = max(entries, default=-1) + 1


def _selected(raw: tuple[tuple[bytes, bytes], ...]) -> Pairs:
    pairs: list[tuple[str, str]] = []
    for name, value in raw:
        lower = name.lower()
        if lower not in _UNINTERESTING:
            shown = "(sent)" if lower in _SECRET else value[:TEXT_BYTES].decode("utf-8", "replace")
            pairs.append((lower.decode("latin-1"), shown))
    return tuple(pairs)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
