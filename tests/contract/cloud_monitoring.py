"""Cloud Monitoring on this machine, as far as it is asked: PromQL over HTTP, an objective's budget over gRPC."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import msgspec
from aiohttp import web
from google.auth.credentials import Credentials
from google.cloud.monitoring_v3 import ListTimeSeriesRequest, ListTimeSeriesResponse, Point, TimeSeries, TypedValue
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcAsyncIOTransport
from google.oauth2.credentials import Credentials as Token
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from apx.backends.gcp.identity import Identity
from apx.backends.gcp.objectives import GoogleObjectives
from apx.backends.gcp.platform_slo import PlatformSlo
from apx.backends.gcp.promql import PromQl, open_session
from apx.clock import ManualClock
from apx.telemetry import metrics

PROJECT, TOKEN = "apx-test", "t0ken"
PATH = f"/v1/projects/{PROJECT}/location/global/prometheus/api/v1/query"
ANSWERS = re.compile(
    r"sum by \(status_class\) "
    r'\(increase\(apx_backend_duration_seconds_count\{product=("(?:[^"\\]|\\.)*")\}\[30d\]\)\)'
)
WORKERS = 'count(apx_event_loop_lag_seconds{job="worker"})'
OBJECTIVE = f"projects/{PROJECT}/services/apx/serviceLevelObjectives/availability"

Labels = tuple[tuple[str, str], ...]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Prometheus:
    """Evaluates the two queries that are known from what was counted; others are errors, as Prometheus says them."""

    def __init__(self) -> None:
        self.workers = 2
        self.instead: Handler | None = None
        """What answers the query for a product's answers, in place of the evaluation."""
        self.asked: list[str] = []
        self._counted: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))

    def count(self, product: str, status: int | None, times: int) -> None:
        self._counted[product][metrics.status_class(status)] += times

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": {"code": 401, "message": "no token", "status": "x"}}, status=401)
        query = str((await request.post())["query"])
        self.asked.append(query)
        if query == WORKERS:
            return vector({(): self.workers} if self.workers else {})
        if found := ANSWERS.fullmatch(query):
            if self.instead is not None:
                return await self.instead(request)
            product = msgspec.json.decode(found[1], type=str)
            return vector({(("status_class", one),): times for one, times in self._counted[product].items()})
        return web.json_response({"status": "error", "errorType": "bad_data", "error": "parse error"}, status=400)


def vector(samples: Mapping[Labels, object], **beside: object) -> web.Response:
    """Answer as Prometheus does: labels → number."""
    result = [{"metric": dict(labels), "value": [1700000000.123, str(value)]} for labels, value in samples.items()]
    return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}, **beside})


class Objectives:
    """What Cloud Monitoring says of the platform's objective."""

    def __init__(self) -> None:
        self.points: list[float] = [0.98]
        """Oldest first."""
        self.code: grpc.StatusCode | None = None
        self.incomplete = False

    async def list_time_series(
        self, request: ListTimeSeriesRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> ListTimeSeriesResponse:
        if self.code is not None:
            await context.abort(self.code, "so it was scripted")
        assert (request.name, request.filter) == (
            f"projects/{PROJECT}",
            f'select_slo_budget_fraction("{OBJECTIVE}")',
        )
        end_s = int(request.interval.end_time.timestamp())
        points = [
            Point(interval={"end_time": {"seconds": end_s - 60 * age}}, value=TypedValue(double_value=value))
            for age, value in enumerate(reversed(self.points))
        ]
        errors = [Status(code=4, message="a shard did not answer")] if self.incomplete else []
        return ListTimeSeriesResponse(time_series=[TimeSeries(points=points)], execution_errors=errors)


class Monitoring(msgspec.Struct, frozen=True):
    """Both sides, and what asks them."""

    prometheus: Prometheus
    slo: Objectives
    client: PromQl
    objectives: GoogleObjectives
    stop: Callable[[], Awaitable[None]]
    """Let nobody listen any more."""


def token() -> Credentials:
    return Token(TOKEN)  # type: ignore[no-untyped-call]


@asynccontextmanager
async def monitoring(find: Callable[[], Credentials] = token) -> AsyncIterator[Monitoring]:
    prometheus, slo, identity = Prometheus(), Objectives(), Identity(find)
    async with serving(prometheus.answer) as (url, stop), _slos(slo) as address, open_session() as session:

        def to_fake(_: Credentials) -> MetricServiceGrpcAsyncIOTransport:
            return MetricServiceGrpcAsyncIOTransport(channel=grpc.aio.insecure_channel(address))

        client = PromQl(session, identity, PROJECT, api=url)
        async with PlatformSlo(identity, PROJECT, ManualClock(), to_fake) as platform:
            yield Monitoring(prometheus, slo, client, GoogleObjectives(client, platform), stop)


@asynccontextmanager
async def serving(handler: Handler, path: str = PATH) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """Serve POST requests on this machine; yields the address, and what ends it."""
    app = web.Application()
    app.router.add_post(path, handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}", runner.cleanup
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _slos(slo: Objectives) -> AsyncIterator[str]:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        slo.list_time_series,
        request_deserializer=ListTimeSeriesRequest.deserialize,
        response_serializer=ListTimeSeriesResponse.serialize,
    )
    service = "google.monitoring.v3.MetricService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ListTimeSeries": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def cut_short(request: web.Request) -> web.StreamResponse:
    """Announce more than is sent."""
    response = web.StreamResponse(headers={"content-length": "1000"})
    await response.prepare(request)
    await response.write(b'{"status":"success","data":{"resultType":"vector","result":[]}}')
    assert request.transport is not None
    request.transport.abort()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    """Send for ever."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 8192)


def elsewhere(url: str, status: int) -> Handler:
    async def redirect(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"location": url})

    return redirect


def whole(response: Callable[[], web.Response]) -> Handler:
    """Give always the same answer."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return response()

    return answer
