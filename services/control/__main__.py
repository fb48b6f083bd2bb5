"""The control process: `python -m services.control`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import uvicorn

from apx import bootstrap
from apx.admission.assertions import Roles
from apx.audit.sealing import Sealer
from apx.errors import ApxError
from apx.telemetry import logs
from apx.telemetry.spans import SpanFile
from apx.webhooks.forward import Forwarder
from services.control.access import Access, Reads
from services.control.app import Office, create_app
from services.control.budgets import watch_budgets
from services.control.housekeeping import clear_blobs, clear_keys
from services.control.lanes import watch_lanes
from services.control.pace import Pace
from services.control.settings import ControlSettings


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    try:
        settings = ControlSettings.load()
        logs.configure("control", settings.log_level)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(settings))
    except ApxError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- before there are logs, the operator reads this
        return error.exit_code
    finally:
        logs.flush()
    return 0


def _assertions(settings: ControlSettings) -> Reads | None:
    if not settings.iap_audience:
        return None
    roles = Roles(
        admins=_addresses(settings.iap_admins),
        operators=_addresses(settings.iap_operators),
        viewers=_addresses(settings.iap_viewers),
    )
    return bootstrap.assertions(settings.iap_audience, roles).read


def _addresses(text: str) -> frozenset[str]:
    return frozenset(address.strip().lower() for address in text.split(",") if address.strip())


async def serve(settings: ControlSettings) -> None:
    """Serve the control API."""
    async with bootstrap.backends(settings) as backends, bootstrap.usage(settings) as usage:
        app = create_app(
            backends,
            bootstrap.loader(settings),
            SpanFile(settings.home / "traces" / "spans.jsonl"),
            Access(
                bootstrap.operators(settings),
                bootstrap.admin_token(settings),
                backends.members,
                Pace(bootstrap.CLOCK, settings.rate),
                _assertions(settings),
            ),
            Office(
                receipts=bootstrap.receipts(settings, settings.region),
                clock=bootstrap.CLOCK,
                seals=bootstrap.seals(settings),
                usage=usage.totals,
                webhooks=lambda stores: bootstrap.webhooks(settings, stores),
            ),
        )
        config = uvicorn.Config(
            app,
            host=settings.control_bind,
            port=settings.control_port,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # `Access.source` says which of them are believed
            timeout_keep_alive=settings.control_idle_timeout_s,
            timeout_graceful_shutdown=settings.drain_s,
        )
        sealer = Sealer(backends.audit, bootstrap.seals(settings))
        beside = [asyncio.create_task(watch_lanes(backends.bus)), asyncio.create_task(sealer.run())]
        beside.append(asyncio.create_task(clear_keys(bootstrap.by_itself(backends).keys, bootstrap.CLOCK)))
        if settings.backends == "local":  # a bucket clears itself, and nobody who serves may delete from it
            beside.append(asyncio.create_task(clear_blobs(backends.blobs)))
        if usage.collector is not None:
            beside.append(asyncio.create_task(usage.collector.run()))
        told = bootstrap.dispatcher(backends)
        health = bootstrap.health(backends, told)
        told.on_overflow = health.disable
        beside += [asyncio.create_task(Forwarder(backends.ended, told).run()), asyncio.create_task(health.run())]
        news = bootstrap.news(backends, told)
        beside.append(asyncio.create_task(watch_budgets(backends, news, bootstrap.CLOCK)))
        # Once it has stopped, uvicorn raises the signal that stopped it again; the default would end the process there.
        signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            await uvicorn.Server(config).serve()
        finally:
            for task in beside:
                task.cancel()


if __name__ == "__main__":
    sys.exit(main())
