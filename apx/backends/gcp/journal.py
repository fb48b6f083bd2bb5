"""The journal of accepted requests: Pub/Sub keeps each from its acceptance until it has a result.

A product has a topic and a subscription of one name; the ordering key is the lane, so that what has to be dealt out
again comes in its order. Who reads an entry and finds it unfinished lets it come again later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from google.api_core.exceptions import AlreadyExists, DeadlineExceeded, NotFound
from google.pubsub_v1.types import PubsubMessage

from apx.backends.gcp.connection import CALL_TIMEOUT_S, unavailable
from apx.backends.gcp.names import requests_topic
from apx.backends.gcp.pubsub import ATTEMPT_TIMEOUT_S, RETRY, PubSub
from apx.backends.valkey.batching import Batcher
from apx.errors import Misconfigured, Unsupported
from apx.requests.model import Envelope

MOST_ENTRY_BYTES = 9_500_000
"""Pub/Sub takes 10 MB in one call."""
MOST_ENTRIES = 500
PULL_S = 20.0
"""Longest wait of one pull; the service answers earlier when it has something."""
ACK_DEADLINE_S = 60
LONGEST_DEADLINE_S = 600

_encode = msgspec.msgpack.Encoder().encode
_envelope = msgspec.msgpack.Decoder(Envelope).decode


class Entry(NamedTuple):
    """One request, as one pull returned it."""

    envelope: Envelope
    ack_id: str


class Journal:
    """The journal of one region, as one process reads and writes it."""

    def __init__(self, pubsub: PubSub, project: str, region: str) -> None:
        self._pubsub = pubsub
        self._project = project
        self._region = region
        self._lanes: dict[tuple[str, str], Batcher[Envelope, None]] = {}

    async def write(self, envelope: Envelope) -> None:
        """Keep one request; it would survive anything once this returns. Those of one lane keep their order.

        Raises `Unavailable`; then it may have been kept. Raises `Unsupported` for one of over `MOST_ENTRY_BYTES`.
        """
        if len(envelope.body) > MOST_ENTRY_BYTES:
            raise Unsupported(f"{envelope.id}: {len(envelope.body)} bytes are over the journal's {MOST_ENTRY_BYTES}")
        lane = envelope.product, f"{envelope.org}:{envelope.lane}"
        if lane not in self._lanes:
            self._lanes[lane] = self._batcher(*lane)
        try:
            await self._lanes[lane](envelope)
        finally:
            if lane in self._lanes and self._lanes[lane].idle:
                del self._lanes[lane]

    async def read(self, product: str) -> list[Entry]:
        """Return what the journal of a product offers; waits up to `PULL_S` for something. Raises `Unavailable`."""
        with unavailable(f"reading the journal of {product}"):
            try:
                pulled = await self._pubsub.subscriber.pull(
                    subscription=self._subscription(product), max_messages=MOST_ENTRIES, retry=None, timeout=PULL_S
                )
            except DeadlineExceeded:
                return []
            except NotFound:
                raise self._missing(product) from None
        return [Entry(_envelope(one.message.data), one.ack_id) for one in pulled.received_messages]

    async def close(self, product: str, entries: Sequence[Entry]) -> None:
        """Forget entries whose requests have results. Raises `Unavailable`; then some may come again."""
        if entries:
            with unavailable(f"closing entries of {product}"):
                await self._pubsub.subscriber.acknowledge(
                    subscription=self._subscription(product),
                    ack_ids=[entry.ack_id for entry in entries],
                    retry=RETRY,
                    timeout=ATTEMPT_TIMEOUT_S,
                )

    async def postpone(self, product: str, entries: Sequence[Entry], after_s: int) -> None:
        """Let entries come again after so many seconds, 0 to `LONGEST_DEADLINE_S`. Raises `Unavailable`."""
        if entries:
            with unavailable(f"postponing entries of {product}"):
                await self._pubsub.subscriber.modify_ack_deadline(
                    subscription=self._subscription(product),
                    ack_ids=[entry.ack_id for entry in entries],
                    ack_deadline_seconds=after_s,
                    retry=RETRY,
                    timeout=ATTEMPT_TIMEOUT_S,
                )

    async def create(self, product: str) -> None:
        """Make a product's topic and subscription, where nothing else does: on emulators. Raises `Unavailable`."""
        with unavailable(f"making the journal of {product}"):
            try:
                await self._pubsub.publisher.create_topic(name=self._topic(product), timeout=CALL_TIMEOUT_S)
            except AlreadyExists:
                return
            await self._pubsub.subscriber.create_subscription(
                request={
                    "name": self._subscription(product),
                    "topic": self._topic(product),
                    "enable_message_ordering": True,
                    "ack_deadline_seconds": ACK_DEADLINE_S,
                },
                timeout=CALL_TIMEOUT_S,
            )

    async def aclose(self) -> None:
        """Send what waits."""
        for batcher in list(self._lanes.values()):
            await batcher.aclose()

    def _batcher(self, product: str, lane: str) -> Batcher[Envelope, None]:
        async def send(envelopes: Sequence[Envelope]) -> list[None]:
            messages = [PubsubMessage(data=_encode(envelope), ordering_key=lane) for envelope in envelopes]
            with unavailable(f"writing to the journal of {product}"):
                try:
                    await self._pubsub.publisher.publish(
                        topic=self._topic(product), messages=messages, retry=RETRY, timeout=ATTEMPT_TIMEOUT_S
                    )
                except NotFound:
                    raise self._missing(product) from None
            return [None] * len(envelopes)

        return Batcher(send, most=MOST_ENTRIES, most_bytes=MOST_ENTRY_BYTES // 2, size=lambda one: len(one.body))

    def _topic(self, product: str) -> str:
        return f"projects/{self._project}/topics/{requests_topic(self._region, product)}"

    def _subscription(self, product: str) -> str:
        return f"projects/{self._project}/subscriptions/{requests_topic(self._region, product)}"

    def _missing(self, product: str) -> Misconfigured:
        return Misconfigured(f"{self._topic(product)} is not there: deploy the stack `messaging`, which makes it")
