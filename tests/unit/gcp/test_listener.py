"""What a listener hears, from streams that a test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.cloud.firestore_v1.types import ListenResponse, Target, TargetChange

from apx.backends.gcp import firestore
from apx.backends.gcp.firestore import Listener, Signal

CURRENT = ListenResponse(target_change=TargetChange(target_change_type=TargetChange.TargetChangeType.CURRENT))


class Streams:
    """Streams of responses, one after the other; the last stays open."""

    def __init__(self, *streams: list[ListenResponse | None]) -> None:
        self._streams = list(streams)

    @asynccontextmanager
    async def stream(self, *_: object) -> AsyncIterator[AsyncIterator[Any]]:
        yield self._responses(self._streams.pop(0))

    async def _responses(self, responses: list[ListenResponse | None]) -> AsyncIterator[Any]:
        for response in responses:
            yield response
        await asyncio.Event().wait()


async def wanted() -> Target:
    return Target(target_id=1)


async def test_a_message_that_cannot_be_read_ends_the_stream_and_not_the_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firestore, "_stream", Streams([CURRENT, None], [CURRENT]).stream)
    monkeypatch.setattr(firestore, "_LISTEN_AGAIN_S", 0.0)
    async with Listener(None, wanted) as listener:  # type: ignore[arg-type]  # the streams need no client
        heard = [await listener.next() for _ in range(3)]
    assert heard == [Signal.BEGUN, Signal.LOST, Signal.BEGUN]
