"""The router process: `python -m services.router`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import signal
import sys
from collections.abc import Coroutine
from typing import Literal

import uvicorn

from apx import bootstrap
from apx.admission.admit import LiveProduct
from apx.admission.identity import Identity
from apx.admission.shedding import Shedder
from apx.admission.side_by_side import SideBySide
from apx.admission.standing import Standing
from apx.clock import Clock
from apx.errors import ApxError
from apx.limits.leases import Limiter
from apx.rollout.counts import Tally
from apx.rollout.follow import Follower
from apx.telemetry import logs, metrics, tracing
from apx.telemetry.endpoint import health
from services.router.accept import Acceptor
from services.router.app import Router
from services.router.door import Door, protocol_of
from services.router.requests_api import RequestsApi
from services.router.settings import RouterSettings

_GC_EVERY = 20_000
"""Allocations between two collections of the young: a request's objects are in no cycle, walking them finds nothing."""


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    try:
        settings = RouterSettings.load()
        logs.configure("router", settings.log_level)
        tracing.configure("router", settings.otlp_endpoint)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn_loop().run(serve(settings))
    except ApxError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- before there are logs, the operator reads this
        return error.exit_code
    finally:
        tracing.shutdown()
        logs.flush()
    return 0


def uvicorn_loop() -> asyncio.Runner:
    """Return a runner on uvloop."""
    import uvloop  # noqa: PLC0415 -- only where a loop is made

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def serve(settings: RouterSettings) -> None:
    """Serve on the Unix socket, and follow keys and releases beside it."""
    clock = bootstrap.CLOCK
    async with bootstrap.backends(settings) as backends:
        identity, standing = Identity(backends.keys, clock), Standing(backends.orgs)
        tally, recorder = Tally(), bootstrap.recorder(settings)
        receipts = bootstrap.receipts(settings, settings.region)
        limits = Limiter(backends.limits, clock, settings.router_limits_timeout_s)
        door = Door(_shedder(settings, clock), clock)
        follower: Follower[LiveProduct] = bootstrap.follower(
            settings, backends.rollouts, "router", bootstrap.live_product(settings, recorder.record), LiveProduct.close
        )
        router = Router(
            identity=identity,
            standing=standing,
            limits=limits,
            side_by_side=SideBySide(tally, clock=clock, chance=random.random),
            arm_tokens=bootstrap.arm_tokens(settings),
            acceptor=Acceptor(backends.bus, receipts, clock),
            requests=RequestsApi(
                results=backends.results,
                blobs=backends.blobs,
                receipts=receipts,
                identity=identity,
                standing=standing,
                clock=clock,
                longest_wait_s=settings.max_wait_s,
            ),
            door=door,
            ready=lambda: bool(follower.serving),
            clock=clock,
            longest_wait_s=settings.max_wait_s,
            log_requests=settings.log_requests,
        )
        with health(settings.router_port, lambda: bool(follower.serving), host=settings.router_host):
            await _run(
                uvicorn.Server(_config(router, settings, protocol_of(door))),
                identity.follow(),
                limits.keep(),
                standing.follow(),
                door.shedder.watch(),
                door.keep_telling(),
                _serve_live(follower, router),
                bootstrap.count_writer(backends, "router", tally).run(),
                recorder.run(),
            )
        await limits.aclose()


def _shedder(settings: RouterSettings, clock: Clock) -> Shedder:
    """Return what bounds the work of this process, and let its metrics be read."""
    shedder = Shedder(
        clock,
        least=min(settings.router_least_work, settings.router_most_work),
        most=settings.router_most_work,
        late_s=settings.router_late_s,
        chance=random.random,
    )
    metrics.WORK_LIMIT.read(lambda: shedder.limit)
    metrics.WORK_UNDER_WAY.read(lambda: shedder.busy)
    return shedder


async def _run(server: uvicorn.Server, *beside: Coroutine[None, None, None]) -> None:
    """Run the server until it is told to stop, and what runs beside it until then; a fault there stops it all."""
    async with asyncio.TaskGroup() as tasks:
        others = [tasks.create_task(coroutine) for coroutine in beside]
        # Once it has stopped, uvicorn raises the signal that stopped it again: by then there are lines to write and
        # connections to close, and the default would end the process there.
        signal.signal(signal.SIGTERM, lambda *_: None)
        await server.serve()
        for task in others:
            task.cancel()


async def _serve_live(follower: Follower[LiveProduct], router: Router) -> None:
    async for serving in follower.changes():
        router.serve(serving)
        if not gc.get_freeze_count():
            # What is live stays: walking 3,000 products in each full collection stopped the loop for 0.2 to 0.6 s.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_GC_EVERY, 20, 50)


def _config(
    router: Router, settings: RouterSettings, http: type[asyncio.Protocol] | Literal["httptools"] = "httptools"
) -> uvicorn.Config:
    settings.socket.parent.mkdir(parents=True, exist_ok=True)
    return uvicorn.Config(
        router,
        uds=str(settings.socket),
        http=http,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=3600,  # the edge closes idle connections, never the router under it
        timeout_graceful_shutdown=int(settings.drain_s) or None,
        backlog=4096,
    )


if __name__ == "__main__":
    sys.exit(main())
