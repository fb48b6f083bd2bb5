"""Many small calls as few large ones: what comes while one call is under way goes with the next.

Items are sent in the order in which they came, one batch at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from apx.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Collects items of one event loop and sends them with `send`, which answers each in order."""

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        most: int,
        most_bytes: int = 1_048_576,
        most_waiting: int = 20_000,
        size: Callable[[Item], int] = lambda _: 0,
    ) -> None:
        """Send up to `most` items, or about `most_bytes` of them by `size`, in one batch."""
        self._send = send
        self._most = most
        self._most_bytes = most_bytes
        self._most_waiting = most_waiting
        self._size = size
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        """Send one item. Raises what `send` raised, or `Unavailable` when too many wait already."""
        if len(self._waiting) >= self._most_waiting:
            raise Unavailable(f"{len(self._waiting)} calls wait for the store already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if self._sending is None:
            self._sending = loop.create_task(self._drain())
        return await future

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self._sending is None and not self._waiting

    async def aclose(self) -> None:
        """Send what waits and stop."""
        if self._sending is not None:
            await self._sending

    async def _drain(self) -> None:
        try:
            while batch := self._take():
                await self._deliver(batch)
        finally:
            self._sending = None

    async def _deliver(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._send([item for item, _ in batch])
        except Unavailable as error:
            # Those behind would wait for the same timeouts, one batch after the other.
            _fail([*batch, *self._waiting], error)
            self._waiting.clear()
        except Exception as error:  # noqa: BLE001 -- each caller gets it
            _fail(batch, error)
        except asyncio.CancelledError:
            _fail([*batch, *self._waiting], Unavailable("the process is stopping"))
            self._waiting.clear()
            raise
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        size = 0
        while self._waiting and len(batch) < self._most and size < self._most_bytes:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
                size += self._size(item)
        return batch


def _fail(calls: Sequence[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, future in calls:
        if not future.done():
            future.set_exception(error)
