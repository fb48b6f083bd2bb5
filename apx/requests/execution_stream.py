"""A streaming backend's body as pieces for the request's event stream.

`text/event-stream`: the data of each event, verbatim, is one piece (the parsing rules are those of the HTML standard,
section 9.2.6). Other text: what arrived, cut between characters. Anything else, and anything packed: base64.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from email.message import Message
from typing import Literal, Protocol

from apx.errors import Unavailable
from apx.requests.execution_call import Headers

Append = Callable[[Literal["chunk", "restart"], str], Awaitable[None]]
"""(kind, data) → stored. Raises `Unavailable`."""

_TEXT = re.compile(r"text/.+|application/(.+\+)?(json|xml|x-ndjson|jsonl|javascript|yaml)")


class Pieces(Protocol):
    """Turns bytes, as they come, into pieces of text."""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the pieces that are whole now."""
        ...

    def end(self) -> Iterator[str]:
        """Yield what is left."""
        ...


def pieces_for(headers: Headers) -> Pieces:
    """Choose by content type and encoding."""
    found = dict(headers)
    if found.get("content-encoding", "identity") != "identity":
        return Base64Pieces()
    message = Message()
    message["content-type"] = found.get("content-type", "application/octet-stream")
    media_type = message.get_content_type()
    if media_type == "text/event-stream":
        return EventPieces()
    if not _TEXT.fullmatch(media_type):
        return Base64Pieces()
    charset = message.get_content_charset("utf-8")
    try:
        b" ".decode(charset, "replace")  # refuses what is unknown, and codecs that are not of text
    except LookupError:
        return Base64Pieces()
    return TextPieces(charset)


class TextPieces:
    """Characters as they come; a character cut in two waits for its end, bytes that are none become U+FFFD."""

    def __init__(self, charset: str = "utf-8") -> None:
        self._decoder = codecs.getincrementaldecoder(charset)(errors="replace")

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the characters that are whole."""
        if text := self._decoder.decode(chunk):
            yield text

    def end(self) -> Iterator[str]:
        """Yield the mark of a character that never ended."""
        if text := self._decoder.decode(b"", final=True):
            yield text


class Base64Pieces:
    """Each chunk by itself in base64."""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the chunk."""
        if chunk:
            yield base64.b64encode(chunk).decode()

    def end(self) -> Iterator[str]:
        """Yield nothing."""
        return iter(())


class EventPieces:
    """The data of each server-sent event; comments, names, ids and an event without its blank line are left out."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the data of the events that are whole."""
        text = self._decoder.decode(chunk)
        if self._after_cr and text:
            text = text.removeprefix("\n")
            self._after_cr = False
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, rest = re.split(r"\r\n|\n|\r", text)
        for line in lines:
            self._line.append(line)
            whole = "".join(self._line)
            self._line.clear()
            if whole:
                self._field(whole)
            elif self._data:
                yield "\n".join(self._data)
                self._data.clear()
        if rest:
            self._line.append(rest)

    def end(self) -> Iterator[str]:
        """Yield nothing: an event that was not closed by a blank line is none."""
        return iter(())

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))


class Emitter:
    """Passes a body through and appends its pieces to the event stream as they come.

    The result holds the whole body in any case. When the store is away for the stream, the pieces end there, and a
    `restart` tells readers, once it can be told, that those they have are not all.
    """

    def __init__(self, append: Append, pieces: Pieces, *, restart_first: bool) -> None:
        self._append = append
        self._pieces = pieces
        self._restart_first = restart_first
        self._broken = False
        self.emitted = False

    async def through(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield `chunks`, having emitted each."""
        async for chunk in chunks:
            await self._emit(self._pieces.feed(chunk))
            yield chunk
        await self._emit(self._pieces.end())
        if self._broken:
            await self.void()

    async def void(self) -> None:
        """Say that the pieces so far do not count; best effort."""
        if self.emitted or self._broken:
            with suppress(Unavailable):
                await self._append("restart", "")

    async def _emit(self, pieces: Iterator[str]) -> None:
        if self._broken:
            return
        try:
            for piece in pieces:
                if self._restart_first:
                    await self._append("restart", "")
                    self._restart_first = False
                await self._append("chunk", piece)
                self.emitted = True
        except Unavailable:
            self._broken = True
