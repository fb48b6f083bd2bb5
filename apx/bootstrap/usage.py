"""Where usage is collected and asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from apx.backends.files.usage import UsageFiles
from apx.backends.valkey.connection import connect
from apx.backends.valkey.usage import ValkeyUsage
from apx.settings import Settings
from apx.usage.collect import Collecting, Collector
from apx.usage.questions import UsageTotals


class Usage(msgspec.Struct, frozen=True):
    """What answers about usage, and what brings it there."""

    totals: UsageTotals
    collector: Collector | None
    """None where the cloud itself moves events to their table."""


@asynccontextmanager
async def usage(settings: Settings) -> AsyncIterator[Usage]:
    """Open this installation's usage. In the cloud only questions are asked."""
    files = UsageFiles(settings.home / "usage")
    if settings.backends == "gcp":
        async with _google(settings, files) as opened:
            yield opened
        return
    client = connect(settings.store_url)
    try:
        collector = Collector(ValkeyUsage(client), files)
        yield Usage(Collecting(collector, files), collector)
    finally:
        await client.aclose()


@asynccontextmanager
async def _google(settings: Settings, files: UsageFiles) -> AsyncIterator[Usage]:
    from apx.backends.gcp import emulators, pubsub  # noqa: PLC0415 -- Google's clients, which only this needs

    if emulators.PUBSUB not in os.environ:
        from apx.backends.gcp.bigquery import BigQueryUsage  # noqa: PLC0415 -- as above

        yield Usage(BigQueryUsage(settings.gcp_project), None)
        return
    from apx.backends.gcp.usage import PubSubUsage  # noqa: PLC0415 -- as above

    async with pubsub.connect(settings.gcp_region) as clients:
        collector = Collector(PubSubUsage(clients, settings.gcp_project, settings.gcp_region), files)
        yield Usage(Collecting(collector, files), collector)
