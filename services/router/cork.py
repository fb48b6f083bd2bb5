"""One write for an answer that is whole: its head is held until its body comes, in the same turn of the event loop.

uvicorn writes the two one after the other, which is a system call more here, and the edge may read them in two.
"""

from __future__ import annotations

import asyncio

_MOST_HELD_BYTES = 4096
"""A head is shorter. What is longer goes out at once, so that a transport that is full says so in time."""


class Cork:
    """The part of a transport that uvicorn's protocol uses."""

    __slots__ = ("_held", "_loop", "_transport", "get_extra_info", "is_closing", "pause_reading", "resume_reading")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Write to `transport`."""
        self._transport = transport
        self._loop = loop
        self._held = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        """Write now what follows on a head; hold a head, until this turn of the loop ends at the latest."""
        if self._held or len(data) > _MOST_HELD_BYTES:
            held, self._held = self._held, b""
            self._transport.write(held + data if held else data)
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)

    def write_whole(self, answer: bytes) -> None:
        """Write an answer that nothing follows."""
        self._flush()
        self._transport.write(answer)

    def close(self) -> None:
        """Write what is held, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self.is_closing():  # the client may have gone since
            self._transport.write(held)
