"""Clients of Pub/Sub: of one region's endpoint, or of the emulator."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import grpc.aio
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import Aborted, DeadlineExceeded, InternalServerError, ServiceUnavailable
from google.api_core.retry import if_exception_type
from google.api_core.retry_async import AsyncRetry
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from apx.backends.gcp.connection import CALL_TIMEOUT_S
from apx.backends.gcp.emulators import PUBSUB

ATTEMPT_TIMEOUT_S = 2.0
RETRY = AsyncRetry(
    predicate=if_exception_type(Aborted, DeadlineExceeded, InternalServerError, ServiceUnavailable),
    initial=0.05,
    maximum=1.0,
    timeout=CALL_TIMEOUT_S - ATTEMPT_TIMEOUT_S,
)
"""Of calls that may be repeated. Publishing may: who reads the journal drops what it knows."""


class PubSub(NamedTuple):
    """Both sides of it."""

    publisher: PublisherAsyncClient
    subscriber: SubscriberAsyncClient


@asynccontextmanager
async def connect(region: str) -> AsyncIterator[PubSub]:
    """Open both clients on one connection; nothing is sent before the first call.

    An ordering key is kept only among publishers of one region, so each process talks to its own region's endpoint.
    """
    if emulator := os.environ.get(PUBSUB):
        async with grpc.aio.insecure_channel(emulator, [("grpc.max_receive_message_length", -1)]) as channel:
            yield PubSub(
                PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel)),
                SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel)),
            )
        return
    options = ClientOptions(api_endpoint=f"{region}-pubsub.googleapis.com")
    async with (
        PublisherAsyncClient(client_options=options) as publisher,
        SubscriberAsyncClient(client_options=options) as subscriber,
    ):
        yield PubSub(publisher, subscriber)
