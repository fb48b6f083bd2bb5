"""Lanes on Valkey: `apx.requests.ports.Bus`. What the keys hold and how they move stands in `lanes.lua`.

Needs one primary (not a cluster: a script touches keys of many products) whose log is synced before it answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from typing import Any, Literal, cast

import msgspec
from valkey.asyncio import Valkey

from apx.backends.valkey.batching import Batcher
from apx.backends.valkey.connection import Script, unavailable
from apx.backends.valkey.log import Log
from apx.backends.valkey.notices import Listener, Notices
from apx.errors import Misconfigured, Unavailable
from apx.requests.model import DeadLetter, Delivery, Envelope, Result
from apx.requests.ports import ProductBounds, Published, Settled, Settlement
from apx.telemetry import metrics
from apx.usage.events import accepted, event_of, is_counted

LEASE_S = 30.0
"""Long enough for a restart of the store, short enough for the lanes of a worker that died."""
IDLE_S = 1.0
MOST_ROOM = 512
MOST_RECEIVED_BYTES = 8_388_608
MOST_SENT_BYTES = 4_194_304
BATCH = 256
NO_BOUND = 2**31
MOST_LETTERS = 20_000
"""What is kept of a name is about half of that."""
RECOVERY_S = 90.0
"""How long a store without its data may not know a request that a journal has: longer than the journal leaves an entry
with a reader that has died."""
KNOWN_AFTER_MS = 900_000
"""How long a journaled request is remembered after its deadline, by which it has a result."""

REMEMBERED_S = 600.0
"""How long a result is remembered that is kept elsewhere; longer than a journal takes to offer its request again."""

Known = Literal["no", "queued", "concluded", "settled"]
"""`concluded`: with a result that came from outside a delivery; `settled`: by a settlement."""
_KNOWN: tuple[Known, ...] = ("no", "queued", "concluded", "settled")
Origin = Literal["client", "repeat", "journal"]
_encode = msgspec.msgpack.Encoder().encode
_envelope = msgspec.msgpack.Decoder(Envelope).decode
_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_OUTCOMES: dict[bytes, Literal["accepted", "duplicate", "conflict", "backlog"]] = {
    b"a": "accepted",
    b"d": "duplicate",
    b"c": "conflict",
    b"b": "backlog",
    b"n": "accepted",
}


class ValkeyBus:
    """The bus of one process."""

    def __init__(
        self,
        client: Valkey,
        *,
        notices: Notices | None = None,
        lease_s: float = LEASE_S,
        idle_s: float = IDLE_S,
        journaled: bool = False,
        recovery_s: float = RECOVERY_S,
    ) -> None:
        """Share `notices` with the results of the same process. Nothing is sent before the first call.

        `journaled`: the requests are kept elsewhere too, which offers them again when this store has lost them. Then no
        write waits for the disk, and a request that is offered twice is queued once.
        """
        self._client = client
        self._notices = notices or Notices(client)
        self._lease_ms = int(lease_s * 1000)
        self._idle_s = idle_s
        self._journaled = journaled
        self._recovery_ms = int(recovery_s * 1000)
        log = None if journaled else Log(client)
        self._publish = Script(client, "publish", prelude="lanes", log=log)
        self._receive = Script(client, "receive", prelude="lanes")
        self._settle = Script(client, "settle", prelude="lanes", log=log)
        self._extend = Script(client, "extend", prelude="lanes")
        self._known = Script(client, "known", prelude="lanes")
        self._producer = secrets.token_hex(8)
        self._batches = 0
        self._publishing: Batcher[tuple[bytes | str | int, ...], Published] = Batcher(
            self._publish_batch, most=BATCH, most_bytes=MOST_SENT_BYTES, size=lambda item: len(cast("bytes", item[4]))
        )
        self._bounds = _Bounds(client)
        self._wakes: dict[str, Listener] = {}

    async def publish(self, envelope: Envelope, *, origin: Origin = "client") -> Published:
        """Queue one request durably; with those of the same moment, in one call.

        A journaled bus knows requests by their ids; their idempotency records are kept where the journal is. Only what
        a client asks for the first time is held to the backlog. What the journal may have older requests of its lane
        in front of is not queued: it comes from there too, with origin `journal`, in its order.
        """
        record, fingerprint = ("", "") if self._journaled else (envelope.idempotency, envelope.fingerprint)
        known_ms = max(0, envelope.deadline_ms - envelope.accepted_ms) + KNOWN_AFTER_MS if self._journaled else 0
        backlog = envelope.backlog if origin == "client" else NO_BOUND
        told = (record, fingerprint, max(1, envelope.idempotency_ttl_s), backlog, known_ms, origin[0])
        return await self._publishing((*_publish_args(envelope), *told))

    async def known(self, envelopes: Sequence[Envelope]) -> list[Known]:
        """Say what a journaled bus knows of requests. Raises `Unavailable`."""
        if not envelopes:
            return []
        args = [part for envelope in envelopes for part in (envelope.id, _lane(envelope))]
        return [_KNOWN[answer] for answer in await self._known.repeat(*args)]

    async def receive(self, worker: str, products: Sequence[ProductBounds], room: int) -> list[Delivery]:
        """Take up to `room` deliveries; waits up to `idle_s` when there are none."""
        if room <= 0 or not products:
            await asyncio.sleep(self._idle_s)
            return []
        loop = asyncio.get_running_loop()
        end = loop.time() + self._idle_s
        if worker not in self._wakes:
            self._wakes[worker] = await self._notices.open("apx:q:wake")
        while True:
            due_ms, *taken = await self._take(products, min(room, MOST_ROOM))
            left_s = end - loop.time()
            if taken or left_s <= 0:
                return [_delivery(*parts) for parts in taken]
            await self._wakes[worker].wait(min(left_s, due_ms / 1000))

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Write results with their usage events and hand lanes on, in one call (a few, when the results are large).

        A journaled bus writes no events: who keeps the journal tells them.
        """
        settled: list[Settled] = []
        most_s = REMEMBERED_S if self._journaled else None
        for args in _calls([_settle_args(settlement, most_s) for settlement in settlements]):
            answers = await self._settle.repeat(self._lease_ms, *args)
            settled += [Settled(bool(a[0]), _delivery(*a[1:]) if len(a) > 1 else None) for a in answers]
        return settled

    async def extend(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Renew leases, all in one call."""
        if not deliveries:
            return []
        args = [part for d in deliveries for part in (_lane(d.envelope), d.envelope.id, d.fence)]
        return [bool(held) for held in await self._extend.repeat(self._lease_ms, *args)]

    async def cancellations(self) -> AsyncIterator[str]:
        """Yield ids of requests that were cancelled while they ran, as it happens; some may be missed."""
        async with self._notices.listen("apx:q:cancelled") as listener:
            while True:
                await listener.wait(3600.0)
                while listener.notices:
                    yield listener.notices.popleft().decode()

    async def dead_letters(
        self, product: str | None = None, limit: int = 100, *, org: str | None = None
    ) -> list[DeadLetter]:
        """List the newest dead letters, newest first."""
        with unavailable("dead letters"):
            kept = await cast("Awaitable[set[bytes]]", self._client.smembers("apx:dlqs"))
            names = [name for one in kept if _holds(name := one.decode(), product, org)]
            async with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.xrevrange(f"apx:dlq:{name}", count=limit if org is None else MOST_LETTERS)
                streams = await pipe.execute()
        found = [
            msgspec.structs.replace(_letter(fields[b"d"]), id=f"{name}:{entry.decode()}")
            for name, entries in zip(names, streams, strict=True)
            for entry, fields in entries
        ]
        newest = sorted(found, key=lambda letter: letter.at_ms, reverse=True)
        return [letter for letter in newest if org in (None, letter.envelope.org)][:limit]

    async def forget_dead_letter(self, letter_id: str) -> bool:
        """Remove one dead letter."""
        name, _, entry = letter_id.partition(":")
        if not all(part.isdigit() for part in entry.split("-")):
            return False
        with unavailable("dead letters"):
            return bool(await self._client.xdel(f"apx:dlq:{name}", entry))

    async def depth(self) -> dict[tuple[str, str], int]:
        """Count waiting and running requests by (product, org)."""
        with unavailable("depth"):
            counts = await cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall("apx:q:depth"))
        return {cast("tuple[str, str]", tuple(k.decode().split(":"))): int(n) for k, n in counts.items()}

    async def aclose(self) -> None:
        """Send what waits and stop listening; the client stays open."""
        await self._publishing.aclose()
        await self._notices.aclose()

    async def _publish_batch(self, batch: Sequence[tuple[bytes | str | int, ...]]) -> list[Published]:
        self._batches += 1
        metrics.PUBLISH_BATCH.observe(len(batch))
        args = [part for item in batch for part in item]
        try:
            answers = await self._publish.repeat(self._producer, self._batches, self._recovery_ms, *args)
        except Unavailable:
            metrics.PUBLISH_FAILURES.inc("unavailable")
            raise
        return [_published(answer, str(item[3])) for item, answer in zip(batch, answers, strict=True)]

    async def _take(self, products: Sequence[ProductBounds], room: int) -> list[Any]:
        key = self._bounds.key(products)
        for _ in range(2):
            taken = cast("list[Any]", await self._receive(room, self._lease_ms, key, MOST_RECEIVED_BYTES))
            if taken[0] >= 0:
                return taken
            await self._bounds.store(products)
        return [1000]


class _Bounds:
    """The bounds of a worker's products, kept in the store under their digest: sent once, not with every call."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._last: tuple[Sequence[ProductBounds], str] | None = None

    def key(self, products: Sequence[ProductBounds]) -> str:
        if self._last is None or (self._last[0] is not products and self._last[0] != products):
            digest = hashlib.sha256(_encode(sorted((p.product, _bound(p)) for p in products))).hexdigest()[:32]
            self._last = (products, f"apx:q:bounds:{digest}")
        return self._last[1]

    async def store(self, products: Sequence[ProductBounds]) -> None:
        key = self.key(products)
        with unavailable("bounds"):
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping={p.product: _bound(p) for p in products})
                pipe.pexpire(key, 3_600_000)
                await pipe.execute()


def _bound(bounds: ProductBounds) -> str:
    return f"{max(1, bounds.concurrency)}:{max(1, bounds.concurrency_per_org)}"


def _holds(name: str, product: str | None, org: str | None) -> bool:
    """Tell whether the dead letters of a name, `PRODUCT` or `PRODUCT.ORG`, may have those of a product and an org."""
    of_product, _, of_org = name.partition(".")
    return product in (None, of_product) and (org is None or of_org in ("", org))


def _lane(envelope: Envelope) -> str:
    return f"{envelope.product}:{envelope.org}:{envelope.lane}"


def _publish_args(envelope: Envelope) -> tuple[bytes | str | int, ...]:
    if ":" in envelope.product or ":" in envelope.org or " " in envelope.id or not envelope.id:
        raise Misconfigured(f"{envelope.product!r}, {envelope.org!r}, {envelope.id!r}: names have no colon or space")
    return (
        envelope.product,
        envelope.org,
        _lane(envelope),
        envelope.id,
        envelope.id.encode() + b" " + _encode(envelope),
    )


def _published(answer: bytes, envelope_id: str) -> Published:
    outcome = _OUTCOMES[answer[:1]]
    return Published(outcome, answer[1:].decode() or envelope_id)


def _settle_args(settlement: Settlement, most_s: float | None) -> tuple[bytes | str | int, ...]:
    delivery, result = settlement.delivery, settlement.result
    lead = (_lane(delivery.envelope), delivery.envelope.id, delivery.fence)
    if result is None:
        what = "release" if settlement.release else "retry"
        return (*lead, what, b"", 0, int((settlement.retry_after_s or 0) * 1000), b"", b"")
    what = "next" if settlement.take_next else "result"
    letter = letter_of(settlement)
    buried = b"" if letter is None else _encode(letter)
    counted = most_s is None and is_counted(delivery.envelope.product)
    usage = _encode(event_of(accepted(delivery.envelope), result)) if counted else b""
    return (*lead, what, _encode(result), kept_ms(result, most_s), 0, buried, usage)


def kept_ms(result: Result, most_s: float | None) -> int:
    """Return for how long a result is kept here: what was promised, or `most_s` at most."""
    retention_s = result.retention_s if most_s is None else min(result.retention_s, most_s)
    return max(1000, int(retention_s * 1000))


def _calls(settlements: Sequence[tuple[bytes | str | int, ...]]) -> Iterator[list[bytes | str | int]]:
    """Join settlements into calls of about `MOST_SENT_BYTES`: no script holds the server for long."""
    args: list[bytes | str | int] = []
    size_bytes = 0
    for settlement in settlements:
        args += settlement
        size_bytes += sum(len(part) for part in settlement if isinstance(part, bytes))
        if size_bytes >= MOST_SENT_BYTES:
            yield args
            args, size_bytes = [], 0
    if args:
        yield args


def letter_of(settlement: Settlement) -> DeadLetter | None:
    """Return the dead letter that a settlement asks for."""
    reason, result = settlement.dead_letter, settlement.result
    if reason is None or result is None:
        return None
    return DeadLetter(
        id="",
        envelope=settlement.delivery.envelope,
        reason=reason.code,
        detail=reason.detail,
        attempts=settlement.delivery.attempt,
        at_ms=result.finished_ms,
    )


def _delivery(envelope: bytes, attempt: int, fence: int, crashes: int) -> Delivery:
    return Delivery(envelope=_envelope(envelope), attempt=attempt, fence=fence, crashes=crashes)
