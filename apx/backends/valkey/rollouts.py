"""Live releases and their audit entries in Valkey. The `RolloutStore` port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from valkey.asyncio import Valkey

from apx.backends.valkey.connection import Script, unavailable
from apx.backends.valkey.feed import listen
from apx.backends.valkey.log import Log
from apx.errors import Conflict
from apx.rollout.active import Active, AuditEntry, Snapshot

_ACTIVE, _REVISION, _CHANNEL = "apx:active", "apx:active:revision", "apx:active:changed"


class ValkeyRollouts:
    """`apx:active` maps product → state; `apx:audit:<product>` is a stream of what was done."""

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
            new.product, new.revision, msgspec.msgpack.encode(changed), msgspec.json.encode(audit)
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
            entries = await self._client.xrevrange(f"apx:audit:{product}", count=limit)
        return [msgspec.json.decode(fields[b"entry"], type=AuditEntry) for _, fields in entries]

    async def now_ms(self) -> int:
        """Return the server's clock."""
        with unavailable("asking for the time"):
            seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000
