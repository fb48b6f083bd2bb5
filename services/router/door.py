"""The door: while there is too much work, whom it knows to turn away goes before anything is done for them.

    bytes ─► httptools ─► door ─► ASGI task ─► route ─► key ─► room? ─► body, policy, limits, publish ─► 202
                           │                                    │
                           └ 503, known from last time          └ 503, and remembered

A refusal must cost much less than an answer: at twice what a router can do, one that costs half as much leaves no time
for anybody who is let in. In ASGI it costs about that; here it is the reading of the header and one write.
Only who was turned away inside is remembered, for a few seconds: the door never lets anybody in, and a key that it does
not know goes on to where keys are checked.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from apx.admission.admit import Refused
from apx.admission.keys import KeyRecord
from apx.admission.shedding import Shedder
from apx.clock import Clock
from apx.telemetry import logs, metrics
from services.router import replies
from services.router.asgi import HeaderList, encode
from services.router.cork import Cork

REMEMBERED_S = 5.0
TELL_EVERY_S = 1.0
_MOST = 10_000
_KEY_FIELDS = (b"x-api-key", b"authorization")
"""Where a key stands: beside the first, the second has the same key or a token, which others may bring too."""
ADMIT = b"/-/admit"
_PLACE = "the-request-id"


class _Known(msgspec.Struct):
    """Whom the door turns away under a base path, and how often it did since that was told."""

    base_path: bytes
    product: str
    caller: KeyRecord
    priority: int
    until: float
    times: int = 0


class Door:
    """Turns away by priority, says so in metrics and log, and remembers whom.

    A line for each request would be a third of what a refusal costs: there is one for each caller and second.
    """

    def __init__(self, shedder: Shedder, clock: Clock) -> None:
        self.shedder = shedder
        self._clock = clock
        self._known: dict[int, _Known] = {}
        """By the hash of the field that the key stands in: no key is kept."""

    def refuse(self, product: str, priority: int) -> Refused:
        """Return the refusal of one request, counted."""
        metrics.SHED.inc(product, str(priority))
        return _refusal(self.shedder.retry_after_s())

    def remember(self, headers: Any, base_path: str, product: str, caller: KeyRecord, priority: int) -> None:
        """Turn requests like this one away at the door, for a few seconds."""
        if len(self._known) >= _MOST:
            self.tell()
            self._known.clear()
        until = self._clock.monotonic() + REMEMBERED_S
        known = _Known(base_path.encode(), product, caller, priority, until)
        value = next((headers[field.decode()] for field in _KEY_FIELDS if field.decode() in headers), None)
        if value is not None:
            name = hash(value.encode("latin-1"))
            self._tell(self._known.get(name, known))
            self._known[name] = known

    def forget(self) -> None:
        """Remember nobody: what is live has changed."""
        self.tell()
        self._known.clear()

    async def keep_telling(self) -> None:
        """Write the lines of each second, until cancelled."""
        try:
            while True:
                await asyncio.sleep(TELL_EVERY_S)
                self.tell()
        finally:
            self.tell()

    def tell(self) -> None:
        """Write a line for each caller that was turned away since the last one."""
        for known in self._known.values():
            self._tell(known)

    @staticmethod
    def _tell(known: _Known) -> None:
        if known.times:
            logs.canonical(
                "requests.turned-away",
                product=known.product,
                org=known.caller.org,
                key=known.caller.id,
                priority=known.priority,
                times=known.times,
            )
            known.times = 0

    def turned_away(self, method: bytes, url: bytes, headers: HeaderList) -> bytes | None:
        """Return the whole answer to a request that there is no room for, as far as that is known here."""
        url = url.removeprefix(ADMIT)  # the edge's question about a synchronous request
        known = self._find(url, headers)
        if known is None or self.shedder.has_room(known.priority):
            return None
        request_id = next((value for name, value in headers if name == b"x-request-id"), b"")[:64].decode("latin-1")
        refused = self.refuse(known.product, known.priority)
        metrics.ADMISSIONS.inc(known.product, "refused", refused.code)
        metrics.RESPONSES.inc(known.product, "5xx")
        known.times += 1
        return _Form.of(refused).filled(request_id, with_body=method != b"HEAD")

    def _find(self, url: bytes, headers: HeaderList) -> _Known | None:
        for name, value in headers:
            if name in _KEY_FIELDS:
                known = self._known.get(hash(value))
                if known is not None and _is_under(url, known.base_path) and known.until > self._clock.monotonic():
                    return known
        return None


def protocol_of(door: Door) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with the door in it, and one write for an answer."""

    class Protocol(HttpToolsProtocol):
        turned_away = False

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.cork = Cork(cast("asyncio.Transport", transport), self.loop)
            super().connection_made(cast("asyncio.Transport", self.cork))

        def on_headers_complete(self) -> None:
            shedder = door.shedder
            before: RequestResponseCycle | None = self.cycle
            if shedder.pressed() and (before is None or before.response_complete):
                answer = door.turned_away(self.parser.get_method(), self.url, self.headers)
                if answer is not None:
                    self.turned_away = True
                    self.cork.write_whole(answer)
                    return
            shedder.arrive()
            self.loop.call_soon(shedder.begin)  # just before the task that the next line makes
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            if not self.turned_away:
                super().on_body(body)

        def on_message_complete(self) -> None:
            if self.turned_away:
                self.turned_away = False
            else:
                super().on_message_complete()

    return Protocol


@lru_cache(maxsize=16)
def _refusal(retry_after_s: int) -> Refused:
    return Refused(
        status=503,
        code="overloaded",
        detail="There is more to do than this router can. Plans of higher priority go first.",
        retry_after_s=retry_after_s,
    )


class _Form(msgspec.Struct, frozen=True):
    """A refusal as HTTP/1.1, but for the request's id."""

    head: bytes
    before: bytes
    after: bytes

    @staticmethod
    @lru_cache(maxsize=16)
    def of(refused: Refused) -> _Form:
        """Write a refusal."""
        reply = replies.refused(refused, _PLACE)
        fields = b"".join(b"%b: %b\r\n" % field for field in encode(reply.headers))
        before, _, after = reply.body.partition(_PLACE.encode())
        return _Form(b"HTTP/1.1 503 Service Unavailable\r\n" + fields, before, after)

    def filled(self, request_id: str, *, with_body: bool) -> bytes:
        """Return the whole answer."""
        named = msgspec.json.encode(request_id)[1:-1]
        length = len(self.before) + len(named) + len(self.after)
        head = b"%bcontent-length: %d\r\n\r\n" % (self.head, length)
        return b"%b%b%b%b" % (head, self.before, named, self.after) if with_body else head


def _is_under(url: bytes, base_path: bytes) -> bool:
    return url.startswith(base_path) and url[len(base_path) : len(base_path) + 1] in (b"", b"/", b"?")
