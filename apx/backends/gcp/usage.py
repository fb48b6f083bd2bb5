"""Usage events on Google Cloud: a topic of the region, from which Pub/Sub itself writes to BigQuery's table.

Who writes a result publishes its event before the lanes hear of the result, so that a request that the lanes know as
ended was told. What is found ended without them (cancelled, or by a worker that died in between) is told by who closes
its entry in the journal, before closing it. Webhooks have a subscription of their own, which is read like a log; on
emulators, where nobody writes to a table, what stores the events has one too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from google.api_core.exceptions import AlreadyExists, DeadlineExceeded, NotFound
from google.pubsub_v1.types import PubsubMessage, ReceivedMessage

from apx.backends.gcp.connection import CALL_TIMEOUT_S, unavailable
from apx.backends.gcp.names import usage_subscription, usage_topic
from apx.backends.gcp.pubsub import ATTEMPT_TIMEOUT_S, RETRY, PubSub
from apx.errors import Misconfigured
from apx.usage.events import COLUMNS, Page, Reader, UsageEvent, is_counted, row_of

MOST_AT_ONCE = 1000
"""What Pub/Sub takes in one call."""
PULL_S = 2.0
_log = structlog.get_logger(__name__)


class PubSubUsage:
    """The usage of one region, as one process writes it, and as one reader reads it."""

    def __init__(self, pubsub: PubSub, project: str, region: str, reader: Reader = "files") -> None:
        self._pubsub = pubsub
        self._topic = f"projects/{project}/topics/{usage_topic(region)}"
        self._subscription = f"projects/{project}/subscriptions/{usage_subscription(region, reader)}"

    async def tell(self, events: Sequence[UsageEvent]) -> None:
        """Publish events; they are kept once this returns. Raises `Unavailable`; safe to repeat."""
        events = [event for event in events if is_counted(event.product)]
        for at in range(0, len(events), MOST_AT_ONCE):
            messages = [PubsubMessage(data=encoded(event)) for event in events[at : at + MOST_AT_ONCE]]
            with unavailable("publishing usage"):
                try:
                    await self._pubsub.publisher.publish(
                        topic=self._topic, messages=messages, retry=RETRY, timeout=ATTEMPT_TIMEOUT_S
                    )
                except NotFound:
                    raise Misconfigured(
                        f"{self._topic} is not there: deploy the stack `messaging`, which makes it"
                    ) from None

    async def create(self) -> None:
        """Make the topic, and this reader's subscription: on emulators. Raises `Unavailable`."""
        request = {"name": self._subscription, "topic": self._topic, "ack_deadline_seconds": 60}
        with unavailable("making the topic of usage"):
            with suppress(AlreadyExists):
                await self._pubsub.publisher.create_topic(name=self._topic, timeout=CALL_TIMEOUT_S)
            with suppress(AlreadyExists):
                await self._pubsub.subscriber.create_subscription(request=request, timeout=CALL_TIMEOUT_S)

    async def waiting(self, limit: int) -> Page | None:
        """Return events that were not forgotten; None when there are none."""
        with unavailable("reading usage"):
            try:
                pulled = await self._pubsub.subscriber.pull(
                    subscription=self._subscription,
                    max_messages=min(limit, MOST_AT_ONCE),
                    retry=None,
                    timeout=PULL_S,
                )
            except DeadlineExceeded:
                return None
        received = pulled.received_messages
        if not received:
            return None
        ids = ",".join(sorted(one.message.message_id for one in received))
        return Page(
            name=hashlib.sha256(ids.encode()).hexdigest()[:32],
            events=list(_readable(received)),
            positions=tuple(one.ack_id for one in received),
        )

    async def forget(self, page: Page) -> None:
        """Acknowledge the page's events."""
        with unavailable("forgetting usage"):
            await self._pubsub.subscriber.acknowledge(
                subscription=self._subscription, ack_ids=list(page.positions), retry=RETRY, timeout=ATTEMPT_TIMEOUT_S
            )


def _readable(received: Iterable[ReceivedMessage]) -> Iterator[UsageEvent]:
    for one in received:
        try:
            yield decoded(one.message.data)
        except (msgspec.MsgspecError, KeyError, TypeError):
            # Another version's: it must not keep all the others from who reads them. It is told, as nobody else will.
            _log.exception("usage.unreadable", message_id=one.message.message_id)


def encoded(event: UsageEvent) -> bytes:
    """Return an event as JSON of its Avro schema, in which a value of a union names its type.

    https://avro.apache.org/docs/1.11.1/specification/#json-encoding
    """
    fields = {
        column.name: {"double": float(value)} if column.nullable and value is not None else value
        for column, value in zip(COLUMNS, row_of(event), strict=True)
    }
    return msgspec.json.encode(fields)


def decoded(data: bytes) -> UsageEvent:
    """Return the event of a message."""
    fields: dict[str, Any] = msgspec.json.decode(data)
    for column in COLUMNS:
        if column.kind == "timestamp":
            fields[column.name] //= 1000
        elif column.nullable and fields[column.name] is not None:
            fields[column.name] = fields[column.name]["double"]
    return msgspec.convert([fields[column.name] for column in COLUMNS], UsageEvent)
