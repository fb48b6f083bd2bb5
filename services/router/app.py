"""The router's ASGI application: plain callables from scope to answer, the hot path at the top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from apx.admission.admit import Admitted, Call, LiveProduct, Refused, conclude, judge, levels
from apx.admission.identity import Identity
from apx.admission.keys import KeyRecord
from apx.admission.shedding import COLLECTING
from apx.admission.side_by_side import Case, SideBySide
from apx.admission.standing import Standing
from apx.catalog.model import Mode
from apx.clock import Clock
from apx.errors import ApxError, Unavailable
from apx.limits.budgets import micro
from apx.limits.leases import Limiter
from apx.release.digest import short
from apx.requests.model import Progress, Result
from apx.rollout import testers
from apx.rollout.arms import Arms
from apx.rollout.model import Arm
from apx.rollout.testers import ArmTokens
from apx.telemetry import metrics
from apx.telemetry.tracing import child, is_recorded
from services.router import operation, prefer, replies
from services.router.accept import Accepted, AcceptedCall, Acceptor
from services.router.asgi import (
    BodyTooLarge,
    ClientGone,
    KeyEnded,
    Receive,
    Reply,
    Scope,
    Send,
    decode_headers,
    only,
    read_body,
    send_reply,
)
from services.router.caller import (
    UNAUTHENTICATED,
    Arrival,
    Fork,
    Target,
    Targets,
    call_of,
    find_caller,
    refused_here,
)
from services.router.door import ADMIT, Door
from services.router.exchange import Exchange
from services.router.requests_api import OrgSuspended, RequestsApi
from services.router.work import Work, priority_of, waits

_ADMIT = ADMIT.decode()
_REQUESTS = "/v1/requests/"
_ACCEPTED = Progress(state="accepted")
_STARTING = Refused(
    status=503, code="starting", detail="This router does not know yet what it serves.", retry_after_s=1
)
_ARM_INVALID = Refused(
    status=400, code="arm-invalid", detail="The field apx-arm is not a token of this product, or it has expired."
)
_log = structlog.get_logger(__name__)


class Router:
    """Admits requests and answers for them. One event loop, one instance."""

    def __init__(
        self,
        *,
        identity: Identity,
        standing: Standing,
        limits: Limiter,
        side_by_side: SideBySide,
        arm_tokens: ArmTokens,
        acceptor: Acceptor,
        requests: RequestsApi,
        door: Door,
        ready: Callable[[], bool],
        clock: Clock,
        longest_wait_s: float,
        log_requests: bool,
    ) -> None:
        self._identity = identity
        self._standing = standing
        self._limits = limits
        self._side_by_side = side_by_side
        self._arm_tokens = arm_tokens
        self._acceptor = acceptor
        self._requests = requests
        self._door = door
        self._shedder = door.shedder
        self._ready = ready
        self._clock = clock
        self._longest_wait_s = longest_wait_s
        self._log_requests = log_requests
        self._targets: Targets | None = None

    def serve(self, serving: Mapping[str, Arms[LiveProduct]]) -> None:
        """Serve these products from now on; requests under way keep the release that admitted them."""
        self._requests.serve(serving)
        self._targets = Targets(serving.values())
        self._shedder.rank(plan.priority for arms in serving.values() for plan in arms.stable.plans.values())
        self._door.forget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] != "http":
            return None
        path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
        if path in ("/healthz", "/readyz"):
            return await send_reply(send, self._health(path))
        headers = decode_headers(scope["headers"])
        exchange = Exchange(scope, headers or only(scope["headers"], b"x-request-id"), path, self._clock)
        try:
            if is_recorded(exchange.traceparent):
                with exchange.span():
                    await self._answer(exchange, headers, path, receive, send)
            else:
                await self._answer(exchange, headers, path, receive, send)
        except ApxError as error:
            _log.warning("request.failed", request_id=exchange.request_id, error=error.code, detail=str(error))
            await self._give_up(exchange, send, replies.failed(error, exchange.request_id))
        except ClientGone:
            exchange.code = "client-gone"
        except KeyEnded:
            await self._give_up(exchange, send, replies.refused(UNAUTHENTICATED, exchange.request_id))
        except Exception:  # noqa: BLE001 -- the last line of defence: a fault of ours is a problem, not a dropped connection
            _log.exception("request.crashed", request_id=exchange.request_id)
            await self._give_up(exchange, send, replies.failed(ApxError("crashed"), exchange.request_id))
        finally:
            exchange.tell(self._clock, log=self._log_requests)
        return None

    async def _answer(
        self, exchange: Exchange, headers: Mapping[str, str] | None, path: str, receive: Receive, send: Send
    ) -> None:
        if headers is None:
            detail = "A field that may stand once stands twice."
            return await exchange.reply(send, replies.problem(400, "header-repeated", detail, exchange.request_id))
        if self._targets is None:
            return await exchange.reply(send, replies.refused(_STARTING, exchange.request_id))
        if path.startswith(_REQUESTS):
            return await self._collect(exchange, path, receive, send)
        if path.startswith(_ADMIT):
            return await exchange.reply(
                send, await self._admit_sync(exchange, path.removeprefix(_ADMIT), self._targets)
            )
        done = await self._accept(exchange, path, receive, self._targets)
        if isinstance(done, Refused):
            return await exchange.reply(send, replies.refused(done, exchange.request_id))
        return await self._confirm(exchange, *done, receive, send)

    async def _collect(self, exchange: Exchange, path: str, receive: Receive, send: Send) -> None:
        """Answer for an accepted request. It is work until the answer begins; who waits is none."""
        if waits(path, exchange.headers, self._longest_wait_s):
            if not self._shedder.has_room(COLLECTING):
                return await exchange.reply(send, self._turned_away(exchange))
            return await self._requests.handle(exchange, path, receive, send)
        if not self._shedder.enter(COLLECTING):
            return await exchange.reply(send, self._turned_away(exchange))
        with Work(self._shedder, COLLECTING) as work:
            await self._requests.handle(exchange, path, receive, work.until_sent(send))
        return None

    def _turned_away(self, exchange: Exchange) -> Reply:
        return replies.refused(self._door.refuse("", COLLECTING), exchange.request_id)

    async def _accept(
        self, exchange: Exchange, path: str, receive: Receive, targets: Targets
    ) -> Refused | tuple[Admitted, Accepted]:
        found = self._found(exchange, path, targets, "async")
        if isinstance(found, Refused):
            return found
        arrival = await self._arrival(exchange, found)
        if isinstance(arrival, Refused):  # the body of a stranger is never read
            return arrival
        priority = priority_of(arrival.caller, found.product)
        if not self._shedder.has_room(priority):
            return self._shed(exchange, found.product, priority)
        try:
            body = await read_body(receive, exchange.headers, found.longest_body)
        except BodyTooLarge:
            return Refused(status=413, code="body-too-large", detail="The body is larger than this route allows.")
        if not self._shedder.enter(priority):  # counted from here on only: a body may be a long time coming
            return self._shed(exchange, found.product, priority)
        with Work(self._shedder, priority):
            return await self._publish(exchange, arrival, found.product, body)

    async def _publish(
        self, exchange: Exchange, arrival: Arrival, stable: LiveProduct, body: bytes
    ) -> Refused | tuple[Admitted, Accepted]:
        admitted = await self._judge(exchange, arrival, stable, body)
        if isinstance(admitted, Refused):
            return admitted
        call = AcceptedCall(
            path=arrival.path,
            method=exchange.method,
            query=exchange.query,
            headers=exchange.headers,
            body=body,
            traceparent=child(exchange.traceparent),
        )
        accepted = await self._acceptor.accept(admitted, call)
        if admitted.set_aside_usd and (isinstance(accepted, Refused) or accepted.duplicate):
            self._limits.give_back(admitted.budgets, micro(admitted.set_aside_usd))
        return accepted if isinstance(accepted, Refused) else (admitted, accepted)

    def _shed(self, exchange: Exchange, product: LiveProduct, priority: int) -> Refused:
        if exchange.caller is not None:
            self._door.remember(exchange.headers, product.spec.base_path, product.name, exchange.caller, priority)
        refused = self._door.refuse(product.name, priority)
        self._tell(exchange, refused)
        return refused

    def _found(self, exchange: Exchange, path: str, targets: Targets, mode: Mode) -> Target | Fork | Refused:
        found = targets.find(exchange.method, path)
        if isinstance(found, Refused):
            return found
        product = found.product
        exchange.product, exchange.release = product.name, product.digest
        return found if product.spec.mode == mode else _moving(product.name)

    async def _arrival(self, exchange: Exchange, found: Target | Fork) -> Arrival | Refused:
        bearer_is_jwt = found.product.spec.auth.jwt is not None
        caller = await find_caller(self._identity, exchange.headers, exchange.query, bearer_is_jwt=bearer_is_jwt)
        if isinstance(caller, Refused):
            self._tell(exchange, caller)
            return caller
        exchange.caller = caller
        barred = refused_here(caller, exchange.headers, self._standing)
        if barred is not None:
            self._tell(exchange, barred)
            return barred
        if isinstance(found, Target):
            return Arrival(caller, found, found.path)
        chosen = self._chosen(exchange, found)
        if isinstance(chosen, Refused):
            self._tell(exchange, chosen)
            return chosen
        arm = chosen or found.arms.arm(caller.org)
        exchange.release = found.arms.serving(arm).digest
        return Arrival(caller, found.target(arm), found.path, found, arm, chosen is not None)

    def _chosen(self, exchange: Exchange, fork: Fork) -> Arm | Refused | None:
        """Return the arm that a tester asks for; a wish that is not genuine is told, not passed over."""
        wish = exchange.headers.get(testers.HEADER)
        if wish is None:
            return None
        return self._arm_tokens.read(wish, fork.product.name, self._clock.time()) or _ARM_INVALID

    async def _judge(
        self, exchange: Exchange, arrival: Arrival, stable: LiveProduct, body: bytes
    ) -> Admitted | Refused:
        call = call_of(
            arrival, stable, method=exchange.method, query=exchange.query, headers=exchange.headers, body=body
        )
        if isinstance(call, Refused):
            self._tell(exchange, call)
            return call
        target, caller = arrival.target, arrival.caller
        answer = target if isinstance(target, Refused) else await self._admit(target, caller, call)
        if not arrival.tester:
            self._count(arrival, stable, call, answer)
        self._tell(exchange, answer)
        return answer

    async def _admit(self, target: Target, caller: KeyRecord, call: Call) -> Admitted | Refused:
        product, match = target.product, target.match
        judged = judge(product, match, caller, call, product.decide, counts=True)
        if isinstance(judged, Refused):
            return judged
        falls_under = levels(product, judged, self._standing.terms(caller.org), self._clock.time(), self._limits.left)
        decision, when_away = judged.decision, judged.plan.when_limits_are_away
        limit = await self._limits.take(falls_under, decision.cost, when_away, micro(decision.cost_usd))
        return conclude(product, judged, limit, falls_under)

    def _count(self, arrival: Arrival, stable: LiveProduct, call: Call, answer: Admitted | Refused) -> None:
        fork, caller, arm = arrival.fork, arrival.caller, arrival.arm
        if fork is None:
            return self._side_by_side.count(stable, caller.org, answer)
        self._side_by_side.count(fork.arms.serving(arm), caller.org, answer)
        if self._side_by_side.wants_comparison(fork.arms, arm, answer):
            self._side_by_side.compare(
                Case(arms=fork.arms, found=fork.found, arm=arm, key=caller, call=call, answer=answer)
            )
        return None

    def _tell(self, exchange: Exchange, answer: Admitted | Refused) -> None:
        outcome, code = ("refused", answer.code) if isinstance(answer, Refused) else ("admitted", "ok")
        metrics.ADMISSIONS.inc(exchange.product, outcome, code)
        metrics.ADMISSION_DURATION.observe(self._clock.monotonic() - exchange.started, outcome)

    async def _confirm(
        self, exchange: Exchange, admitted: Admitted, accepted: Accepted, receive: Receive, send: Send
    ) -> None:
        """Answer for what was accepted just now, or for its result, where the client waits for it."""
        limits = replies.limit_fields(admitted.limit)
        exchange.operation_id = accepted.id
        metrics.ACCEPT_DURATION.observe(self._clock.monotonic() - exchange.started, exchange.product)
        wish = prefer.parse(exchange.headers.get("prefer"), self._longest_wait_s)
        fields = (*limits, ("preference-applied", wish.applied)) if wish.applied else limits
        current = await self._known(accepted, admitted.key, wish.wait_s, receive)
        if current is None:
            return await exchange.reply(send, operation.gone(exchange.request_id))
        if isinstance(current, Result) and wish.wait_s:
            place = ("content-location", f"{operation.location(accepted.id)}/result")
            return await self._requests.reply_with_result(exchange, current, (*fields, place), send)
        if isinstance(current, Result):
            return await exchange.reply(send, _accepted(operation.finished(current), fields))
        document = (
            self._requests.pending(accepted.id, current)
            if accepted.duplicate
            else operation.pending(accepted.id, exchange.product, exchange.release, accepted.accepted_ms, current)
        )
        return await exchange.reply(send, _accepted(document, (*fields, ("retry-after", "1"))))

    async def _known(
        self, accepted: Accepted, caller: KeyRecord, wait_s: float, receive: Receive
    ) -> Result | Progress | None:
        """Return what has become of an accepted request; a store that cannot be asked takes nothing back.

        Nor does a suspension: what was accepted before goes on.
        """
        if not wait_s and not accepted.duplicate:
            return _ACCEPTED
        try:
            return await self._requests.current_of(accepted.id, caller, wait_s, receive)
        except (Unavailable, OrgSuspended):
            return _ACCEPTED

    async def _admit_sync(self, exchange: Exchange, path: str, targets: Targets) -> Reply:
        """Answer the edge's question (ext_authz): 200 with the fields for the backend, or the refusal to pass on."""
        exchange.path = path
        found = self._found(exchange, path, targets, "sync")
        if isinstance(found, Refused):
            return replies.refused(found, exchange.request_id)
        arrival = await self._arrival(exchange, found)
        if isinstance(arrival, Refused):
            return replies.refused(arrival, exchange.request_id)
        priority = priority_of(arrival.caller, found.product)
        if not self._shedder.enter(priority):
            return replies.refused(self._shed(exchange, found.product, priority), exchange.request_id)
        with Work(self._shedder, priority):
            admitted = await self._judge(exchange, arrival, found.product, b"")
        if isinstance(admitted, Refused):
            return replies.refused(admitted, exchange.request_id)
        fields = (
            *admitted.decision.headers.items(),
            *replies.limit_fields(admitted.limit),
            ("x-apx-org", admitted.key.org),  # these are for the edge: its log, its choice of a backend; no further
            ("x-apx-arm", arrival.arm),
            ("x-apx-product", exchange.product),
            ("x-apx-release", short(exchange.release)),
            ("x-envoy-auth-headers-to-remove", "authorization,x-api-key,cookie,x-apx-jwt-payload"),
        )
        return Reply(status=200, headers=fields)

    def _health(self, path: str) -> Reply:
        if path == "/healthz" or self._ready():
            return replies.json_reply(200, {"status": "ok"})
        return replies.problem(503, "not-ready", "No verified release serves yet.", "", (("retry-after", "1"),))

    async def _give_up(self, exchange: Exchange, send: Send, reply: Reply) -> None:
        """Answer an error of ours, when the answer has not begun yet."""
        if exchange.status == 0:
            await exchange.reply(send, reply)


def _accepted(document: dict[str, Any], headers: replies.Headers) -> Reply:
    return replies.json_reply(202, document, (*headers, ("location", operation.location(document["id"]))))


def _moving(product: str) -> Refused:
    """Answer while the edge and the router do not yet agree on how a product is served."""
    return Refused(
        status=503, code="product-moving", detail=f"{product} is changing how it is served.", retry_after_s=1
    )
