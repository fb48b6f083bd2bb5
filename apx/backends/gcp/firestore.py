"""What the Firestore adapters share: the client, bounded calls, the service's clock, and a listener.

Google's async client has no listener, and its blocking one answers a lost stream by raising in a thread of its own;
so this speaks `Listen` (google.firestore.v1) itself, as one task of the event loop.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Self, TypedDict, cast

from google.api_core.exceptions import ServiceUnavailable
from google.api_core.retry import if_exception_type
from google.api_core.retry_async import AsyncRetry
from google.cloud.firestore import AsyncClient
from google.cloud.firestore_v1.async_query import AsyncQuery
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcAsyncIOTransport as Transport
from google.cloud.firestore_v1.types import Document, ListenRequest, ListenResponse, Target, TargetChange
from grpc.aio import Channel, insecure_channel

from apx.backends.gcp.connection import CALL_TIMEOUT_S, unavailable
from apx.errors import Unavailable

POLL_EVERY_S = 2.0
_CHANNEL = [
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.min_reconnect_backoff_ms", 5000),  # how long one attempt may take
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]
_REPEAT_FOR_S, _LISTEN_AGAIN_S = 1.0, 0.5
_LISTEN_FOR_S = 3600.0
"""Then it begins anew, so that what it remembers to have told does not grow for ever."""


class Signal(Enum):
    """What a listener says beside the documents."""

    BEGUN = "begun"
    """It listens. What changed before may have been missed; what changes from now on is told."""
    LOST = "lost"
    """It does not listen any longer, and tries to begin again."""
    QUIET = "quiet"
    """Nothing was said for `POLL_EVERY_S`: time to ask whether there was nothing to say."""


Heard = Document | Signal
Wanted = Callable[[], Awaitable[Target]]
"""Says what to listen to."""
_Change = TargetChange.TargetChangeType


class Bounds(TypedDict):
    """How long a call may take."""

    retry: AsyncRetry | None
    timeout: float


def connect(project: str, database: str) -> AsyncClient:
    """Return a client of one database; of the emulator, without credentials, where FIRESTORE_EMULATOR_HOST is set.

    No call is made yet. It is closed by `close`: its own `close` leaves the channel open.
    """
    with unavailable("finding Google's credentials"):
        return _Client(project=project, database=database)


class _Client(AsyncClient):
    """The library's, on a channel that comes back soon: gRPC's own comes to wait two minutes between its attempts."""

    @property
    def _firestore_api(self) -> FirestoreAsyncClient:
        if self._firestore_api_internal is None:  # made by the first call: a channel belongs to the loop that runs then
            self._firestore_api_internal = FirestoreAsyncClient(transport=Transport(channel=self._channel()))
        return self._firestore_api_internal

    def _channel(self) -> Channel:
        if self._emulator_host is not None:
            return insecure_channel(self._emulator_host, options=_CHANNEL)
        return Transport.create_channel(self._target, credentials=self._credentials, options=_CHANNEL)


async def close(client: AsyncClient) -> None:
    """Close the client's channel; calls that are under way are cancelled."""
    await client._firestore_api.transport.close()  # noqa: SLF001 -- the library offers no other way


def bounded(timeout_s: float = CALL_TIMEOUT_S) -> Bounds:
    """Return the arguments of a call that may be repeated: for a second while the service is refused, and no longer."""
    away = if_exception_type(ServiceUnavailable)
    return {"retry": AsyncRetry(away, initial=0.05, maximum=0.5, timeout=_REPEAT_FOR_S), "timeout": timeout_s}


def once() -> Bounds:
    """Return the arguments of a call that is made once: one whose repetition would not mean the same."""
    return {"retry": None, "timeout": CALL_TIMEOUT_S}


def query_target(client: AsyncClient, query: AsyncQuery) -> Target:
    """Return the target of what a query finds."""
    form = query._to_protobuf()  # noqa: SLF001 -- the client has no listener
    parent = f"{database(client)}/documents"
    return Target(query=Target.QueryTarget(parent=parent, structured_query=form), target_id=1)


async def server_time(client: AsyncClient) -> dt.datetime:
    """Return the service's clock: when it looked for a document that is not there."""
    with unavailable("asking for the time"):
        looked = await client.document("clock/now").get(**bounded())
    return cast("dt.datetime", looked.read_time)


class Listener:
    """Hears of each document of a target as it is written, from `async with` to its end.

    `wanted` is asked anew whenever listening begins. Documents that are there already come before `BEGUN`; none comes
    twice, and deletions are not told. A listener that is lost is no error: it says `LOST`, and goes on with `QUIET`.
    """

    def __init__(self, client: AsyncClient, wanted: Wanted) -> None:
        self._client, self._wanted = client, wanted
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen_again_and_again())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def next(self) -> Heard:
        """Return what is heard next, `QUIET` after `POLL_EVERY_S` without anything.

        Raises `Misconfigured` when this process may not listen, `Unavailable` when the client was closed.
        """
        try:
            async with asyncio.timeout(POLL_EVERY_S):
                return await self._heard.get()
        except TimeoutError:
            if self._listening.done():
                self._raise_end()
            return Signal.QUIET

    def _raise_end(self) -> None:
        if self._listening.cancelled():  # gRPC does this to the calls of a channel that is closed
            raise Unavailable("listening: the client was closed")
        self._listening.result()

    async def _listen_again_and_again(self) -> None:
        while True:
            hearing = _Hearing(self._heard)
            with suppress(Unavailable), unavailable("listening"):  # whoever polls sees whether it is more than this
                async with asyncio.timeout(_LISTEN_FOR_S), _stream(self._client, await self._wanted()) as responses:
                    async for response in responses:
                        hearing.hear(response)
            if hearing.begun:
                self._heard.put_nowait(Signal.LOST)
            await asyncio.sleep(_LISTEN_AGAIN_S)


class _Hearing:
    """What one stream has told so far."""

    def __init__(self, heard: asyncio.Queue[Heard]) -> None:
        self.begun = False
        self._heard = heard
        self._told: dict[str, dt.datetime] = {}

    def hear(self, response: ListenResponse | None) -> None:
        """Pass on what is new in a response. Raises `Unavailable` when it is the end."""
        if response is None:  # what gRPC makes of a message that cannot be parsed: who knows what was in it
            raise Unavailable("listening: a message could not be read")
        change, document = response.target_change, response.document_change.document
        if change.target_change_type == _Change.REMOVE:
            raise Unavailable(f"listening: Google ended it: {change.cause.message}")
        if change.target_change_type == _Change.CURRENT and not self.begun:
            self.begun = True
            self._heard.put_nowait(Signal.BEGUN)
        # All documents of a query may come again (RESET); from the emulator they do at each change.
        if document.name and self._told.get(document.name) != document.update_time:
            self._told[document.name] = document.update_time
            self._heard.put_nowait(document)


@asynccontextmanager
async def _stream(client: AsyncClient, target: Target) -> AsyncIterator[AsyncIterator[ListenResponse]]:
    ended = asyncio.Event()

    async def requests() -> AsyncIterator[ListenRequest]:
        yield ListenRequest(database=database(client), add_target=target)
        await ended.wait()  # a stream whose requests have ended is ended by the service too

    api, metadata = client._firestore_api, client._rpc_metadata  # noqa: SLF001 -- the client has no listener
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            stream = await api.listen(requests(), retry=None, timeout=None, metadata=metadata)
        try:
            yield stream
        finally:
            stream.cancel()
    finally:
        ended.set()


def database(client: AsyncClient) -> str:
    """Return the full name of a client's database."""
    return str(client._database_string)  # noqa: SLF001 -- what the client itself puts into each call
