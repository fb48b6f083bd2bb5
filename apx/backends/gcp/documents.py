"""What of a request is kept in Firestore: its result, its idempotency record, its dead letter. Each is written once.

A document's name is the request's id read backwards: ids begin with the time, and names that grow with it would all be
written in one place (https://cloud.google.com/firestore/docs/best-practices#hotspots).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from google.api_core.exceptions import AlreadyExists, FailedPrecondition, NotFound
from google.cloud.firestore import AsyncClient, Query
from google.cloud.firestore_v1.base_query import FieldFilter

from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.firestore import bounded
from apx.backends.gcp.names import CREATED, DEAD_LETTERS, EXPIRES, IDEMPOTENCY, RECORD, RESULTS
from apx.clock import Clock
from apx.requests.model import DeadLetter, Result

_encode = msgspec.msgpack.Encoder().encode
_result = msgspec.msgpack.Decoder(Result).decode
_letter = msgspec.msgpack.Decoder(DeadLetter).decode


class Recorded(msgspec.Struct, frozen=True):
    """The idempotency record that stands."""

    id: str
    fingerprint: str
    age_s: float
    """0 for the one that was just created."""
    created: bool


class Documents:
    """The documents of one region's database. `written` counts what the bill counts most."""

    def __init__(self, client: AsyncClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self.written = 0

    async def conclude(self, result: Result) -> Result:
        """Write a terminal state if there is none; return the one that stands. Raises `Unavailable`; safe to repeat."""
        document = self._client.collection(RESULTS).document(result.id[::-1])
        fields = {RECORD: _encode(result), EXPIRES: self._in(result.retention_s)}
        with unavailable(f"writing the result of {result.id}"):
            try:
                await document.create(fields, **bounded())
            except AlreadyExists:
                standing = await self.result(result.id)
                return await self._replace(document, fields, result) if standing is None else standing
        self.written += 1
        return result

    async def result(self, request_id: str) -> Result | None:
        """Return a terminal state. Raises `Unavailable`."""
        [found] = await self.results([request_id])
        return found

    async def results(self, ids: Sequence[str]) -> list[Result | None]:
        """Return the terminal states of requests, in one call. Raises `Unavailable`."""
        documents = {id_: self._client.collection(RESULTS).document(id_[::-1]) for id_ in ids}
        with unavailable("reading results"):
            found = {one.id: one async for one in self._client.get_all(list(documents.values()), **bounded())}
        now = self._now()
        kept = {name: one for name, one in found.items() if one.exists and _field(one, EXPIRES) > now}
        return [_result(_field(kept[id_[::-1]], RECORD)) if id_[::-1] in kept else None for id_ in ids]

    async def record(self, name: str, request_id: str, fingerprint: str, ttl_s: float) -> Recorded:
        """Write an idempotency record if there is none that holds; return the one that stands. Raises `Unavailable`."""
        document = self._client.collection(IDEMPOTENCY).document(name)
        fields = {"id": request_id, "fingerprint": fingerprint, EXPIRES: self._in(ttl_s), CREATED: self._now()}
        with unavailable("writing an idempotency record"):
            while True:
                try:
                    await document.create(fields, **bounded())
                    self.written += 1
                    return Recorded(request_id, fingerprint, 0.0, created=True)
                except AlreadyExists:
                    standing = await document.get(**bounded())
                    if standing.exists and _field(standing, EXPIRES) > self._now():
                        age = self._now() - _field(standing, CREATED)
                        id_, print_ = _field(standing, "id"), _field(standing, "fingerprint")
                        # Ours, when the answer to a first try was lost.
                        return Recorded(id_, print_, age.total_seconds(), created=id_ == request_id)
                    await self._delete(standing)

    async def forget_record(self, name: str) -> None:
        """Remove an idempotency record of a request that was refused after all. Raises `Unavailable`."""
        with unavailable("removing an idempotency record"):
            await self._client.collection(IDEMPOTENCY).document(name).delete(**bounded())

    async def bury(self, letter: DeadLetter) -> None:
        """Keep a dead letter, once for each request. Raises `Unavailable`; safe to repeat."""
        name = letter.envelope.id[::-1]
        fields = {
            RECORD: _encode(msgspec.structs.replace(letter, id=name)),
            "product": letter.envelope.product,
            "org": letter.envelope.org,
            "at_ms": letter.at_ms,
        }
        with unavailable("writing a dead letter"):
            try:
                await self._client.collection(DEAD_LETTERS).document(name).create(fields, **bounded())
                self.written += 1
            except AlreadyExists:
                return

    async def letters(self, product: str | None, limit: int, *, org: str | None = None) -> list[DeadLetter]:
        """Return the newest dead letters, newest first. Raises `Unavailable`."""
        query: Any = self._client.collection(DEAD_LETTERS)
        if product is not None:
            query = query.where(filter=FieldFilter("product", "==", product))
        if org is not None:
            query = query.where(filter=FieldFilter("org", "==", org))
        query = query.order_by("at_ms", direction=Query.DESCENDING).limit(limit)
        with unavailable("reading dead letters"):
            return [_letter(_field(one, RECORD)) async for one in query.stream(**bounded())]

    async def forget_letter(self, letter_id: str) -> bool:
        """Remove a dead letter; False when it is gone already. Raises `Unavailable`."""
        if not letter_id or "/" in letter_id:
            return False
        document = self._client.collection(DEAD_LETTERS).document(letter_id)
        with unavailable("removing a dead letter"):
            try:
                await document.delete(option=self._client.write_option(exists=True), **bounded())
            except (NotFound, FailedPrecondition):
                return False
        return True

    async def _replace(self, document: Any, fields: dict[str, Any], result: Result) -> Result:
        """Write over a result whose time is over, and which Firestore has not removed yet."""
        await self._delete(await document.get(**bounded()))
        try:
            await document.create(fields, **bounded())
        except AlreadyExists:
            return await self.result(result.id) or result
        self.written += 1
        return result

    async def _delete(self, standing: Any) -> None:
        if not standing.exists:
            return
        unchanged = self._client.write_option(last_update_time=standing.update_time)
        try:
            await standing.reference.delete(option=unchanged, **bounded())
        except (FailedPrecondition, NotFound):
            await asyncio.sleep(0)  # somebody else was first: look again

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)

    def _in(self, seconds: float) -> datetime:
        return self._now() + timedelta(seconds=seconds)


def _field(snapshot: Any, name: str) -> Any:
    return snapshot.get(name)
