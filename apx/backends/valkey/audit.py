"""The audit log in Valkey. The `AuditStore` port.

`apx:chain` is a stream whose ids are the entries' numbers, `apx:chain:head` its head (JSON), `apx:chain:checkpoints` a
sorted set of checkpoints (JSON) by their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from valkey.asyncio import Valkey
from valkey.exceptions import ResponseError

from apx.audit.checkpoint import Checkpoint
from apx.audit.entry import Change, Entry, Head, canonical, dump, load
from apx.audit.store import MOST_CHECKPOINTS, Mirrored, compare_and_append
from apx.backends.valkey.connection import Script, unavailable
from apx.backends.valkey.log import Log
from apx.errors import Conflict

_CHAIN, _HEAD, _CHECKPOINTS = "apx:chain", "apx:chain:head", "apx:chain:checkpoints"
_LAST = "18446744073709551615"
"""The greatest number that a stream's id can have."""


class ValkeyAudit:
    """An append is one script, and is on the store's disk when it returns."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._log = Log(client)
        self._append = Script(client, "audit", log=self._log)

    async def append(self, changes: Sequence[Change], *, mirrored: Mirrored | None = None) -> list[Entry]:
        """Append changes behind the head."""
        return await compare_and_append(self._look, self._swap, changes, mirrored)

    async def read(self, after: int = 0, limit: int = 500) -> list[Entry]:
        """Return the entries behind a number."""
        with unavailable("reading the audit log"):
            found = await self._client.xrange(_CHAIN, min=f"({after}-{_LAST}", count=limit)
        return [load(int(place.partition(b"-")[0]), fields.get(b"entry", b"")) for place, fields in found]

    async def head(self) -> Head:
        """Return where the log ends."""
        with unavailable("reading the head of the audit log"):
            return _head(await self._client.get(_HEAD) or b"")

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint."""
        number = checkpoint.number
        with unavailable("keeping a checkpoint of the audit log"):
            async with self._client.pipeline(transaction=True) as step:
                step.zremrangebyscore(_CHECKPOINTS, number, number)
                step.zadd(_CHECKPOINTS, {canonical(checkpoint): number})
                step.zremrangebyrank(_CHECKPOINTS, 0, -MOST_CHECKPOINTS - 1)
                await step.execute()
            await self._log.settle()

    async def checkpoints(self) -> list[Checkpoint]:
        """Return those that are kept."""
        with unavailable("reading the checkpoints of the audit log"):
            found = await self._client.zrange(_CHECKPOINTS, 0, -1)
        return [msgspec.json.decode(one, type=Checkpoint) for one in found]

    async def _look(self) -> tuple[Head, int, bytes]:
        with unavailable("reading the head of the audit log"):
            async with self._client.pipeline(transaction=True) as step:
                step.get(_HEAD)
                step.time()
                kept, (seconds, microseconds) = await step.execute()
        return _head(kept or b""), int(seconds) * 1000 + int(microseconds) // 1000, kept or b""

    async def _swap(self, seen: bytes, new: Head, entries: list[Entry]) -> bool:
        try:
            return bool(await self._append(seen, canonical(new), entries[0].number, *map(dump, entries)))
        except ResponseError as error:
            if "equal or smaller" in str(error):
                raise Conflict("the audit log goes on behind its head; `apx audit verify` says where") from error
            raise


def _head(kept: bytes) -> Head:
    return msgspec.json.decode(kept, type=Head) if kept else Head()
