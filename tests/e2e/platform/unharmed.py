"""What has to hold of a platform after a storm, whatever was sent: the same processes, about the same memory, and no
request at a backend that was not accepted, or was twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

from apx.local.folder import Folder
from apx.local.platform import Platform
from apx.local.status import healthy, rows
from tests.e2e.platform.client import Client, eventually, received
from tests.e2e.platform.shots import MARK, Answer, Shot, fault, fire, told

GROWTH = 1.5
SPARE_BYTES = 64 * 1024 * 1024
"""What a process may grow by: half of what it had, and what its allocator keeps of the largest bodies."""
FORGED = "forged-by-client"
_OPERATION = "/v1/requests/"


class Storm:
    """Fires, judges each answer, and remembers them all."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: dict[str, Answer] = {}

    def fire(self, shots: Sequence[Shot]) -> list[Answer]:
        """Send all at once; each answer has to be one that a client can make sense of."""
        answers = fire(self._port, shots)
        self.answers |= {answer.shot.marker: answer for answer in answers}
        for answer in answers:
            assert not fault(answer), f"{fault(answer)}: {told(answer)}"
        return answers

    def operations(self) -> set[str]:
        """Return the ids of the asynchronous requests that were accepted."""
        fields = ("location", "content-location")
        places = [answer.fields.get(field, "") for answer in self.answers.values() for field in fields]
        return {p.removeprefix(_OPERATION).partition("/")[0] for p in places if p.startswith(_OPERATION)}


@contextmanager
def unharmed(platform: Platform, known: Sequence[str] = ()) -> Iterator[Storm]:
    """Let a storm loose on a platform, and see that nothing came of it; `known` ids were accepted before."""
    folder = Folder(platform.home)
    before = {row.process: row.pid for row in rows(folder)}
    memory = _memory(before)
    since = 1 + max((entry["n"] for entry in received(platform)), default=-1)
    storm = Storm(platform.settings.edge_port)
    yield storm

    after = rows(folder)
    assert {row.process: row.pid for row in after} == before
    assert eventually(lambda: healthy(rows(folder))), rows(folder)
    for name, size in _memory(before).items():
        assert size < memory[name] * GROWTH + SPARE_BYTES, (name, memory[name], size)
    operations = storm.operations() - set(known)
    assert eventually(lambda: operations <= _collected(_called(platform, since)), 30)
    _check(storm, operations, _called(platform, since))
    _works(platform)


def _check(storm: Storm, operations: set[str], entries: list[dict[str, Any]]) -> None:
    """Compare what was answered with what the demo backend received."""
    strangers = _collected(entries) - operations
    assert not strangers, strangers
    for entry in entries:
        answer = storm.answers.get(entry["headers"].get(MARK, ""))
        assert answer is not None, f"nobody sent {entry}"
        assert answer.accepted, f"{told(answer)} reached the backend: {entry}"
        assert FORGED not in str(entry["headers"]), entry
    repeated = {marker: n for marker, n in Counter(e["headers"][MARK] for e in entries).items() if n > 1}
    assert not repeated, repeated


def _works(platform: Platform) -> None:
    assert httpx.get(f"{platform.edge}/readyz", trust_env=False).status_code == 200
    with Client(platform, "acme") as client:
        assert client.order(prefer="wait=20").status_code == 201


def _called(platform: Platform, since: int) -> list[dict[str, Any]]:
    """Return what came to the demo backend as a backend; `rows` asks for its health."""
    return [entry for entry in received(platform, since) if entry["path"] != "/healthz"]


def _collected(entries: list[dict[str, Any]]) -> set[str]:
    return {e["headers"]["idempotency-key"] for e in entries if e["path"].startswith("/orders")}


def _memory(pids: dict[str, int | None]) -> dict[str, int]:
    return {name: psutil.Process(pids[name]).memory_info().rss for name in ("edge", "router")}
