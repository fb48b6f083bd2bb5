"""The receiving end of OTLP over HTTP for one machine: spans go to a file of bounded size, one JSON line each.

    spans = SpanFile(home / "traces" / "spans.jsonl")
    taken = spans.accept(request.headers["content-type"], body)      # POST /otlp/v1/traces
    spans.read("4bf92f3577b34da6a3ce929d0e0e4736")

What others send is guarded like our own: forbidden attributes are dropped, queries cut off, credentials masked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec

from apx.errors import Permanent, Unavailable
from apx.telemetry.otlp import SpanRecord, decode_json, decode_protobuf

MAX_BODY_BYTES = 2 << 20
MAX_FILE_BYTES = 16 << 20
KEPT_FILES = 3
_DECODERS = {"application/x-protobuf": decode_protobuf, "application/json": decode_json}


class SpansRefused(Permanent):
    """An export that is not OTLP (400), too large (413) or of another type (415)."""

    code = "spans-refused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, public=message)
        self.status = status


class SpanFile:
    """Spans of one machine, newest in `path`, older ones in `path`.1 and so on. For any thread of one process."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def accept(self, content_type: str, body: bytes) -> int:
        """Append the spans of one export; return how many. Raises `SpansRefused`, `Unavailable` (disk)."""
        if len(body) > MAX_BODY_BYTES:
            raise SpansRefused(f"An export of {len(body)} bytes is over {MAX_BODY_BYTES}.", 413)
        kind = content_type.partition(";")[0].strip().lower()
        decode = _DECODERS.get(kind)
        if decode is None:
            raise SpansRefused(f"Spans come as {' or '.join(_DECODERS)}.", 415)
        try:
            records = list(decode(body))
        except ValueError as error:
            raise SpansRefused(f"This is not an OTLP export of spans: {error}", 400) from error
        if records:
            self._append(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
        return len(records)

    def read(self, trace_id: str) -> list[SpanRecord]:
        """Return the spans of one trace that are still kept, by their start."""
        wanted = trace_id.lower()
        found = [span for span in self._spans_with(wanted.encode()) if span.trace_id == wanted]
        return sorted(found, key=lambda span: span.start_ns)

    def _append(self, lines: bytes) -> None:
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._rotate(len(lines))
                with self._path.open("ab") as file:
                    if file.tell() and not self._ends_whole():
                        file.write(b"\n")  # a full disk tore the last line; readers skip it
                    file.write(lines)
        except OSError as error:
            raise Unavailable(f"cannot write spans to {self._path}: {error}") from error

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"

    def _rotate(self, more: int) -> None:
        if not self._path.exists() or self._path.stat().st_size + more <= self._max_bytes:
            return
        files = self._files()
        for older, newer in pairwise(files):
            if newer.exists():
                newer.replace(older)

    def _files(self) -> list[Path]:
        """Return where spans are, oldest first."""
        old = [self._path.with_name(f"{self._path.name}.{n}") for n in range(KEPT_FILES - 1, 0, -1)]
        return [*old, self._path]

    def _spans_with(self, part: bytes) -> Iterator[SpanRecord]:
        for path in self._files():
            for line in _lines(path):
                if part not in line:
                    continue
                try:
                    yield msgspec.json.decode(line, type=SpanRecord)
                except msgspec.DecodeError:
                    continue  # a torn line


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return
