"""The objects of one bucket in Cloud Storage, as the adapters over it need them: bounded calls, no lost update.

The client blocks, so that each call runs in a thread. A write names the generation that it replaces (0: none), and what
is stored carries its CRC-32C, which Google checks. Times of storing are kept as the object's custom time.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import IO, TypeVar

import google_crc32c
import msgspec
from google.api_core.exceptions import BadRequest, Conflict, PreconditionFailed, RequestRangeNotSatisfiable
from google.api_core.exceptions import NotFound as Absent
from google.cloud.storage import Blob, Bucket, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from apx.backends.gcp.connection import CALL_TIMEOUT_S, unavailable
from apx.errors import Misconfigured, NotFound, Unavailable

CHUNK_BYTES = 8 * 1024 * 1024
"""What one request carries of a larger upload; the client sends no more than that in one piece either."""

_TRY_TIMEOUT_S = CALL_TIMEOUT_S / 2
"""Longest silence within one try, so that a second one fits into the call."""
_RETRY = DEFAULT_RETRY.with_timeout(CALL_TIMEOUT_S - _TRY_TIMEOUT_S).with_delay(initial=0.1, maximum=1.0)
_BOUNDS = {"timeout": _TRY_TIMEOUT_S, "retry": _RETRY}
_ROUNDS = 8
"""How often a write is begun anew because somebody else's came first."""
_WIDE = 8
_LOST = (PreconditionFailed, Conflict)

T = TypeVar("T")


class Content(msgspec.Struct, frozen=True):
    """What is to be stored: a file that can be rewound, its size and its CRC-32C (base64, big-endian)."""

    file: IO[bytes]
    size_bytes: int
    crc32c: str

    def requests(self) -> int:
        """Count the requests that carry it: one, or one that announces it and one for each piece."""
        return 1 if self.size_bytes <= CHUNK_BYTES else 1 + -(-self.size_bytes // CHUNK_BYTES)


class Seen(msgspec.Struct, frozen=True):
    """An object as it was at one moment. `stored_at` is in seconds since the epoch."""

    name: str
    generation: int
    metageneration: int
    size_bytes: int
    crc32c: str
    stored_at: float

    def same(self) -> dict[str, int]:
        """Return the precondition that nobody has touched the object since."""
        return {"if_generation_match": self.generation, "if_metageneration_match": self.metageneration}

    def holds(self, content: Content) -> bool:
        """Tell whether the object is this content, by its size and CRC-32C."""
        return (self.size_bytes, self.crc32c) == (content.size_bytes, content.crc32c)


def open_bucket(project: str, name: str) -> Bucket:
    """Return a bucket by this process's own identity; nothing is asked yet. Raises `Misconfigured` without one."""
    with unavailable(f"opening the bucket {name}"):
        return Client(project=project).bucket(name)


def content_of(content: bytes) -> Content:
    """Wrap bytes that are in memory already."""
    return Content(BytesIO(content), len(content), crc32c_text(google_crc32c.value(content)))


def crc32c_text(value: int) -> str:
    """Write a CRC-32C as Cloud Storage does."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


class Objects:
    """One bucket.

    Each method raises `Unavailable` within `CALL_TIMEOUT_S` for each of its requests (an upload has one for each
    `CHUNK_BYTES`), and `Misconfigured` when Google refuses this process or there is no such bucket.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def store(self, name: str, content: Content, *, stored_at: float | None = None) -> None:
        """Have `content` under `name`, whole; the same content that is there already stays, as stored at `stored_at`.

        Other content is replaced, unless somebody replaces it at the same time: then it is looked at anew.
        """
        seen: Seen | None = None
        for _ in range(_ROUNDS):
            if await self._upload(name, content, stored_at, instead_of=seen):
                return
            seen = await self.look(name)
            if seen is not None and seen.holds(content) and await self._renew(seen, stored_at):
                return
        raise Unavailable(f"{self._where(name)} was changed by others {_ROUNDS} times while it was stored")

    async def look(self, name: str) -> Seen | None:
        """Return what is said of an object; None where there is none."""
        blob = await self._call("looking at", name, lambda: self._bucket.get_blob(name, **_BOUNDS))
        return None if blob is None else _seen(blob)

    async def read(self, name: str, *, start: int, end: int, generation: int | None = None) -> bytes:
        """Return the bytes from `start` to before `end`, as far as there are any. Raises `NotFound`."""
        blob = self._bucket.blob(name, generation=generation)

        def download() -> bytes:
            return bytes(
                blob.download_as_bytes(start=start, end=end - 1, raw_download=True, checksum="crc32c", **_BOUNDS)
            )

        try:
            return await self._call("reading", name, download)
        except RequestRangeNotSatisfiable:
            return b""  # there is no range in an empty object
        except Absent as error:
            raise NotFound(f"{self._where(name)} is not there") from error

    async def remove(self, seen: Seen) -> bool:
        """Remove an object; False when it is no longer as it was seen."""
        delete = self._bucket.delete_blob
        try:
            await self._call("removing", seen.name, lambda: delete(seen.name, **seen.same(), **_BOUNDS))
        except (Absent, *_LOST):
            return False
        return True

    async def pages(self, prefix: str) -> AsyncIterator[list[Seen]]:
        """Yield every object whose name begins with `prefix`, by name, a thousand at a time at most."""
        pages = self._bucket.list_blobs(prefix=prefix, **_BOUNDS).pages
        try:
            while (page := await self._call("listing", prefix, lambda: _next_page(pages))) is not None:
                yield page
        except Absent as error:
            raise self._no_bucket() from error

    async def _upload(self, name: str, content: Content, stored_at: float | None, *, instead_of: Seen | None) -> bool:
        """Write an object; False when there is another than `instead_of` by now."""
        blob = self._bucket.blob(name, chunk_size=CHUNK_BYTES)
        if stored_at is not None:
            blob.custom_time = datetime.fromtimestamp(stored_at, UTC)

        def upload() -> None:
            blob.upload_from_file(
                content.file,
                rewind=True,
                size=content.size_bytes,
                if_generation_match=0 if instead_of is None else instead_of.generation,
                checksum="crc32c",
                crc32c_checksum_value=content.crc32c,
                **_BOUNDS,
            )

        try:
            await self._call("storing", name, upload, requests=content.requests())
        except _LOST:
            return False
        except BadRequest as error:  # also what did not arrive as it was sent
            raise Unavailable(f"storing {self._where(name)}: {error.message[:200]}") from error
        except Absent as error:
            raise self._no_bucket() from error
        return True

    async def _renew(self, seen: Seen, stored_at: float | None) -> bool:
        """Say that an object was stored at `stored_at`; False when it is no longer as it was seen."""
        if stored_at is None or stored_at <= seen.stored_at:  # Google does not move a custom time back
            return True
        blob = self._bucket.blob(seen.name)
        blob.custom_time = datetime.fromtimestamp(stored_at, UTC)
        try:
            await self._call("renewing", seen.name, lambda: blob.patch(**seen.same(), **_BOUNDS))
        except (Absent, *_LOST):
            return False
        return True

    async def _call(self, doing: str, name: str, call: Callable[[], T], *, requests: int = 1) -> T:
        what = f"{doing} {self._where(name)}"
        try:
            with unavailable(what):
                async with asyncio.timeout(CALL_TIMEOUT_S * requests):
                    return await asyncio.to_thread(call)
        except DataCorruption as error:
            raise Unavailable(f"{what}: it does not fit its checksum") from error

    def _where(self, name: str) -> str:
        return f"gs://{self._bucket.name}/{name}"

    def _no_bucket(self) -> Misconfigured:
        return Misconfigured(f"there is no bucket {self._bucket.name}: create it, or name another one")


async def together(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Await calls, a few at a time; all that were begun have ended when the first error is raised."""
    done: list[T] = []
    for start in range(0, len(calls), _WIDE):
        answers = await asyncio.gather(*(call() for call in calls[start : start + _WIDE]), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            done.append(answer)
    return done


def _next_page(pages: Iterator[Iterable[Blob]]) -> list[Seen] | None:
    page = next(pages, None)
    return None if page is None else [_seen(blob) for blob in page]


def _seen(blob: Blob) -> Seen:
    return Seen(
        name=blob.name,
        generation=blob.generation,
        metageneration=blob.metageneration,
        size_bytes=blob.size,
        crc32c=blob.crc32c,
        stored_at=(blob.custom_time or blob.time_created).timestamp(),
    )
