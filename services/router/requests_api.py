"""`/v1/requests/{id}`: poll, wait, collect, follow and cancel what was accepted.

The id itself says whose it is (it is a signed receipt), so a forged id and another org's are told apart from a real one
without asking a store, and both are answered alike: 404.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from apx.admission.admit import OUT_OF_SCOPE, LiveProduct, Refused
from apx.admission.identity import Identity
from apx.admission.keys import KeyRecord
from apx.admission.standing import Standing
from apx.admission.terms import may_cancel, may_read
from apx.catalog.model import Async
from apx.clock import Clock
from apx.errors import NotFound, Permanent
from apx.requests.model import Event, Progress, Result
from apx.requests.ports import BlobStore, ResultStore
from apx.requests.receipt import Receipt, Receipts
from apx.rollout.arms import Arms
from apx.telemetry import metrics
from services.router import events, operation, prefer, replies
from services.router.asgi import Receive, Reply, Send, encode, racing, unless_gone
from services.router.caller import SUSPENDED, UNAUTHENTICATED, brings_token, find_caller, refused_here, while_valid
from services.router.exchange import Exchange

T = TypeVar("T")
_PREFIX = "/v1/requests/"
_MOST_RELEASES = 10_000
"""Releases that are remembered after they were replaced."""
_NOT_FOUND = Refused(status=404, code="not-found", detail="There is no such request.")


class OrgSuspended(Permanent):
    """The org was suspended while its client waited."""

    code = SUSPENDED.code
    status = SUSPENDED.status


class RequestsApi:
    """Answers for accepted requests."""

    def __init__(
        self,
        *,
        results: ResultStore,
        blobs: BlobStore,
        receipts: Receipts,
        identity: Identity,
        standing: Standing,
        clock: Clock,
        longest_wait_s: float,
    ) -> None:
        self._results = results
        self._blobs = blobs
        self._receipts = receipts
        self._identity = identity
        self._standing = standing
        self._tagged = _Tagged(receipts)
        self._clock = clock
        self._longest_wait_s = longest_wait_s

    def serve(self, serving: Mapping[str, Arms[LiveProduct]]) -> None:
        """Take over what is live; what was, is remembered for the requests that it admitted."""
        self._tagged.serve(serving)

    async def handle(self, exchange: Exchange, path: str, receive: Receive, send: Send) -> None:
        """Answer one request under `/v1/requests/`."""
        caller = await find_caller(
            self._identity, exchange.headers, exchange.query, bearer_is_jwt=brings_token(exchange.headers)
        )
        if isinstance(caller, Refused):
            return await exchange.reply(send, replies.refused(caller, exchange.request_id))
        exchange.caller = caller
        barred = refused_here(caller, exchange.headers, self._standing)
        if barred is not None:
            return await exchange.reply(send, replies.refused(barred, exchange.request_id))
        request_id, slash, rest = path.removeprefix(_PREFIX).partition("/")
        receipt = self._receipts.verify(request_id)
        if receipt is None or not self._receipts.belongs_to(receipt, caller.org):
            return await exchange.reply(send, replies.refused(_NOT_FOUND, exchange.request_id))
        exchange.operation_id = request_id
        answer = {
            ("GET", ""): self._poll,
            ("DELETE", ""): self._cancel,
            ("GET", "result"): self._result,
            ("GET", "events"): self._events,
        }.get(("GET" if exchange.method == "HEAD" else exchange.method, rest))
        if answer is None or (slash and not rest):
            return await exchange.reply(send, replies.refused(self._unroutable(rest or slash), exchange.request_id))
        asked = _Asked(request_id, receipt, caller)
        if not self._in_scope(exchange, asked):
            return await exchange.reply(send, replies.refused(OUT_OF_SCOPE, exchange.request_id))
        await answer(exchange, asked, receive, send)
        return None

    async def current_of(
        self, request_id: str, caller: KeyRecord, wait_s: float, receive: Receive
    ) -> Result | Progress | None:
        """Return what is known of a request that was just accepted, staying up to `wait_s` for its result.

        Raises `ClientGone` when the client does not stay as long, `KeyEnded` when its key does not,
        `OrgSuspended` when its org may not.
        """
        receipt = self._receipts.verify(request_id)
        return None if receipt is None else await self._stay(_Asked(request_id, receipt, caller), wait_s, receive)

    def pending(self, request_id: str, progress: Progress) -> dict[str, Any]:
        """Return the document of a request of ours that has no result yet, as its own receipt tells it."""
        receipt = self._receipts.verify(request_id)
        return {} if receipt is None else self._pending(receipt, progress)

    async def current(self, request_id: str, receipt: Receipt) -> Result | Progress | None:
        """Return what is known of a request: its result, its progress, or None when its time is over."""
        found = await self._results.get(request_id)
        return found if found is not None else self._unseen(request_id, receipt)

    async def reply_with_result(self, exchange: Exchange, result: Result, headers: replies.Headers, send: Send) -> None:
        """Send what the backend answered: its status, its fields, its body, a large one piece by piece."""
        if result.status is None:
            return await exchange.reply(send, operation.without_answer(result, exchange.request_id, headers))
        if result.blob is None:
            reply = Reply(status=result.status, headers=(*result.headers, *headers), body=result.body)
            return await exchange.reply(send, reply)
        fields = [*encode((*result.headers, *headers)), (b"content-length", b"%d" % result.body_bytes)]
        pieces = self._blobs.get(result.blob)
        try:
            first = await anext(pieces, b"")  # a missing or damaged blob is found before the status is sent
        except NotFound:
            return await exchange.reply(send, operation.gone(exchange.request_id))
        await exchange.start(send, result.status, fields)
        if exchange.method == "HEAD":
            return await send({"type": "http.response.body", "body": b""})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return None

    async def _stay(self, asked: _Asked, wait_s: float, receive: Receive) -> Result | Progress | None:
        if not wait_s:
            return await self.current(asked.id, asked.receipt)
        result = self._unless_suspended(self._results.wait(asked.id, wait_s), asked.caller.org)
        waiting = while_valid(self._identity, asked.caller, result)
        with _counted("wait"):
            found = await unless_gone(waiting, receive)
        return found if found is not None else self._unseen(asked.id, asked.receipt)

    async def _poll(self, exchange: Exchange, asked: _Asked, receive: Receive, send: Send) -> None:
        wish = prefer.parse(exchange.headers.get("prefer"), self._longest_wait_s)
        current = await self._stay(asked, wish.wait_s, receive)
        applied = (("preference-applied", wish.applied),) if wish.applied else ()
        await exchange.reply(send, self._status(exchange, asked, current, applied))

    async def _cancel(self, exchange: Exchange, asked: _Asked, _: Receive, send: Send) -> None:
        current = await self.current(asked.id, asked.receipt)
        if isinstance(current, Progress):
            current = await self._results.put_if_absent(self._cancelled(asked, current))
        await exchange.reply(send, self._status(exchange, asked, current))

    async def _result(self, exchange: Exchange, asked: _Asked, receive: Receive, send: Send) -> None:
        wish = prefer.parse(exchange.headers.get("prefer"), self._longest_wait_s)
        current = await self._stay(asked, wish.wait_s, receive)
        if isinstance(current, Result):
            headers = (("content-location", f"{operation.location(asked.id)}/result"),)
            return await self.reply_with_result(exchange, current, headers, send)
        if current is None:
            return await exchange.reply(send, self._status(exchange, asked, current))
        detail = f"The request is {current.state}; its result is not there yet."
        reply = replies.problem(409, "result-not-ready", detail, exchange.request_id, (("retry-after", "1"),))
        return await exchange.reply(send, reply)

    async def _events(self, exchange: Exchange, asked: _Asked, receive: Receive, send: Send) -> None:
        current = await self.current(asked.id, asked.receipt)
        if current is None:
            return await exchange.reply(send, self._status(exchange, asked, current))
        await exchange.start(send, 200, events.FIELDS)
        if exchange.method == "HEAD":
            return await send({"type": "http.response.body", "body": b""})
        with _counted("sse"):
            recorded = self._recorded(exchange, asked, current)
            await events.follow(recorded, self._barred(exchange, asked.caller), receive, send)
        return None

    async def _barred(self, exchange: Exchange, caller: KeyRecord) -> bytes:
        """Return, once the caller may not stay, the problem that says why."""
        ends = self._identity.until_ended(caller), self._standing.until_suspended(caller.org)
        async with racing(*ends) as (ended, _):
            refusal = UNAUTHENTICATED if ended.done() else SUSPENDED
        exchange.code = refusal.code
        return replies.refused(refusal, exchange.request_id).body

    async def _unless_suspended(self, awaited: Awaitable[T], org: str) -> T:
        """Return what is awaited. Raises `OrgSuspended`, and stops waiting, when the org is suspended meanwhile."""
        async with racing(awaited, self._standing.until_suspended(org)) as (waiting, suspended):
            if suspended.done():
                raise OrgSuspended(f"{org} was suspended while it waited", public=SUSPENDED.detail)
            result: T = waiting.result()
            return result

    def _recorded(self, exchange: Exchange, asked: _Asked, current: Result | Progress) -> AsyncIterator[Event]:
        if isinstance(current, Result) and not current.org:  # `_unseen` made it up: no store has events of it
            return events.only_end(current)
        recorded = self._results.events(asked.id, exchange.headers.get("last-event-id", "")[:64])
        return events.ending_with(recorded, current) if isinstance(current, Result) else recorded

    def _in_scope(self, exchange: Exchange, asked: _Asked) -> bool:
        product, _ = self._named(asked.receipt)
        may = may_cancel if exchange.method == "DELETE" else may_read
        return may(asked.caller, product)

    def _status(
        self, exchange: Exchange, asked: _Asked, current: Result | Progress | None, headers: replies.Headers = ()
    ) -> Reply:
        if current is None:
            return operation.gone(exchange.request_id)
        if isinstance(current, Result):
            return replies.json_reply(200, operation.finished(current), headers)
        return replies.json_reply(200, self._pending(asked.receipt, current), (("retry-after", "1"), *headers))

    def _pending(self, receipt: Receipt, progress: Progress) -> dict[str, Any]:
        product, release = self._named(receipt)
        return operation.pending(receipt.id, product, release, receipt.accepted_ms, progress)

    def _unseen(self, request_id: str, receipt: Receipt) -> Result | Progress | None:
        """Return the state of a request that no store knows: the receipt proves that it was accepted.

        Results are kept for their retention after the deadline at least, so: before the deadline it waits, after it
        it was never sent, and after that its result is no longer kept.
        """
        product, release = self._named(receipt)
        waits = self._waits(receipt)
        now_ms = self._clock.time() * 1000
        deadline_ms = receipt.accepted_ms + int(waits.deadline_s * 1000)
        if now_ms <= deadline_ms:
            return Progress(state="accepted")
        if now_ms <= deadline_ms + waits.retention_s * 1000:
            return Result(
                id=request_id,
                org="",
                product=product,
                release=release,
                state="expired",
                accepted_ms=receipt.accepted_ms,
                finished_ms=deadline_ms,
            )
        return None

    def _cancelled(self, asked: _Asked, progress: Progress) -> Result:
        product, release = self._named(asked.receipt)
        waits = self._waits(asked.receipt)
        now_ms = int(self._clock.time() * 1000)
        left_s = max(0.0, asked.receipt.accepted_ms / 1000 + waits.deadline_s - now_ms / 1000)
        return Result(
            id=asked.id,
            org=asked.caller.org,
            product=product,
            release=release,
            state="cancelled",
            accepted_ms=asked.receipt.accepted_ms,
            started_ms=progress.started_ms,
            finished_ms=now_ms,
            attempts=progress.attempt,
            retention_s=waits.retention_s + left_s,
        )

    def _named(self, receipt: Receipt) -> tuple[str, str]:
        """Return the product and release that the receipt's tags stand for, as far as this process has served them."""
        admitted_by = self._tagged.release(receipt)
        if admitted_by is not None:
            return admitted_by.name, admitted_by.digest
        live = self._tagged.product(receipt)
        return ("", "") if live is None else (live.name, "")

    def _waits(self, receipt: Receipt) -> Async:
        """Return how the request waits: by the release that admitted it, else by the one that serves."""
        known = self._tagged.release(receipt) or self._tagged.product(receipt)
        return known.waits if known is not None else Async()

    def _unroutable(self, rest: str) -> Refused:
        allowed = {"": ("DELETE", "GET", "HEAD"), "result": ("GET", "HEAD"), "events": ("GET", "HEAD")}.get(rest)
        if allowed is None:
            return _NOT_FOUND
        return Refused(
            status=405, code="method-not-allowed", detail="This resource does not take this method.", allow=allowed
        )


class _Known(msgspec.Struct, frozen=True):
    """A release, as a request's receipt needs it."""

    name: str
    digest: str
    waits: Async


class _Tagged:
    """The live products, and the releases that this process has served, by the tags that receipts carry."""

    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts
        self._products: dict[bytes, _Known] = {}
        self._releases: OrderedDict[tuple[bytes, bytes], _Known] = OrderedDict()

    def product(self, receipt: Receipt) -> _Known | None:
        """Return the live release of the request's product."""
        return self._products.get(receipt.product_tag)

    def release(self, receipt: Receipt) -> _Known | None:
        """Return the release that admitted the request."""
        return self._releases.get((receipt.product_tag, receipt.release_tag))

    def serve(self, serving: Mapping[str, Arms[LiveProduct]]) -> None:
        self._products = {}
        for arms in serving.values():
            if arms.candidate is not None:
                self._know(arms.candidate)
            stable = self._know(arms.stable)
            for product_tag in self._receipts.product_tags(arms.stable.name):
                self._products[product_tag] = stable
        while len(self._releases) > 2 * len(self._products) + _MOST_RELEASES:
            self._releases.popitem(last=False)

    def _know(self, live: LiveProduct) -> _Known:
        known = _Known(live.name, live.digest, live.spec.async_)
        tags = zip(self._receipts.product_tags(live.name), self._receipts.release_tags(live.digest), strict=True)
        for product_tag, release_tag in tags:
            self._releases[product_tag, release_tag] = known
            self._releases.move_to_end((product_tag, release_tag))
        return known


class _Asked(msgspec.Struct, frozen=True):
    id: str
    receipt: Receipt
    caller: KeyRecord


@contextmanager
def _counted(kind: str) -> Iterator[None]:
    metrics.STREAMS_OPEN.inc(kind)
    try:
        yield
    finally:
        metrics.STREAMS_OPEN.dec(kind)
