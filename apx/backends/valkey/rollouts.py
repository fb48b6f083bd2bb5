"""Live releases and their audit entries in Valkey. The `RolloutStore` port."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec
from valkey.asyncio import Valkey

from apx.backends.valkey.connection import Script, unavailable
from apx.backends.valkey.feed import listen
from apx.backends.valkey.log import Log
from apx.errors import Conflict
from apx.rollout.active import MOST_EVENTS, Active, AuditEntry, Snapshot

_PAGE = 200
_POSITION = re.compile("[0-9]{1,15}-[0-9]{1,15}")
_AUDIT = "apx:audit"
_ACTIVE, _REVISION, _CHANNEL = "apx:active", "apx:active:revision", "apx:active:changed"


class ValkeyRollouts:
    """`apx:active` maps product → state; `apx:audit:<product>` is a stream of what was done, `apx:audit` of it all."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._change = Script(client, "rollouts", log=Log(client))

    async def read(self) -> Snapshot:
        """Return the live state of all products."""
        with unavailable("reading the live releases"):
            async with self._client.pipeline(transaction=True) as step:
                step.get(_REVISION)
                step.hgetall(_ACTIVE)
                revision, states = await step.execute()
        products = {name.decode(): msgspec.msgpack.decode(state, type=Active) for name, state in states.items()}
        return Snapshot(revision=int(revision or 0), products=products)

    async def change(self, new: Active, audit: AuditEntry) -> Active:
        """Set a product's state when its revision still is `new.revision`."""
        changed = msgspec.structs.replace(new, revision=new.revision + 1)
        answer = await self._change(
            new.product, new.revision, msgspec.msgpack.encode(changed), msgspec.json.encode(audit), MOST_EVENTS
        )
        if answer < 0:
            raise Conflict(
                f"{new.product} is at revision {-answer - 1}, not {new.revision}: somebody changed it first; look again"
            )
        return changed

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Yield the live state now, whenever it changes, and every two seconds."""
        async for _ in listen(self._client, _CHANNEL):
            yield await self.read()

    async def history(self, product: str, limit: int = 50) -> list[AuditEntry]:
        """Return the newest entries of a product, newest first."""
        with unavailable("reading the history"):
            entries = await self._client.xrevrange(f"{_AUDIT}:{product}", count=limit)
        return [_entry(fields) for _, fields in entries]

    async def events(self, after: str = "") -> AsyncIterator[tuple[str, AuditEntry]]:
        """Yield every change with its position in `apx:audit`, at once and every two seconds what was missed."""
        position = after if _POSITION.fullmatch(after) else "0-0"
        fresh = not after
        async for _ in listen(self._client, _CHANNEL):
            if fresh:
                position, fresh = await self._last(), False
            more = True
            while more:
                with unavailable("reading what was changed"):
                    entries = await self._client.xrange(_AUDIT, min=f"({position}", count=_PAGE)
                for place, fields in entries:
                    position = place.decode()
                    yield position, _entry(fields)
                more = len(entries) == _PAGE

    async def _last(self) -> str:
        with unavailable("reading what was changed"):
            entries = await self._client.xrevrange(_AUDIT, count=1)
        return entries[0][0].decode() if entries else "0-0"

    async def now_ms(self) -> int:
        """Return the server's clock."""
        with unavailable("asking for the time"):
            seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def _entry(fields: dict[bytes, bytes]) -> AuditEntry:
    return msgspec.json.decode(fields[b"entry"], type=AuditEntry)
