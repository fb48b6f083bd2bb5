"""Raw requests, many at a time, each marked; and what every answer of ours has to be."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Sequence
from itertools import count

import msgspec

MOST_S = 10.0
"""An answer takes no longer, whatever was asked."""
MARK = "x-marker"
_numbers = count()


class Shot(msgspec.Struct, frozen=True):
    """One request as bytes."""

    data: bytes
    marker: str
    patience_s: float = MOST_S
    """How long to wait for an answer; less than the limit where the request may be unfinished on purpose."""
    may_close: bool = False
    """Its framing is in doubt, so that no answer is an answer."""


class Answer(msgspec.Struct, frozen=True):
    """The final answer; status 0: closed, or silent for the shot's patience."""

    shot: Shot
    status: int = 0
    fields: dict[str, str] = {}
    body: bytes = b""
    after_s: float = 0.0

    @property
    def is_problem(self) -> bool:
        return self.fields.get("content-type") == "application/problem+json"

    @property
    def of_backend(self) -> bool:
        """Say whether a backend gave it: the edge says so of synchronous ones, the router of collected results."""
        marks = self.fields.keys() & {"ratelimit", "content-location"}
        return bool(marks) and not self.is_problem

    @property
    def accepted(self) -> bool:
        """Say whether a backend may have seen the request."""
        return 0 < self.status < 400 or self.of_backend


def shot(
    method: str | bytes,
    target: str | bytes,
    fields: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    chunked: bool = False,
    host: str = "edge",
) -> Shot:
    """Return a request whose framing is right, whatever else of it is not; text is sent as Latin-1."""
    framing = [("Transfer-Encoding", "chunked")] if chunked else [("Content-Length", str(len(body)))] if body else []
    if chunked:
        body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return raw_shot(b"%s %s HTTP/1.1" % (_bytes(method), _bytes(target)), [("Host", host), *fields, *framing], body)


def raw_shot(line: bytes, fields: Sequence[tuple[str, str]], body: bytes, *, unsafe: bool = False) -> Shot:
    """Return a request as it stands; `unsafe` where its framing is in doubt."""
    marker = f"m-{next(_numbers)}"
    lines = [f"{name}: {value}\r\n".encode("latin-1") for name, value in (*fields, (MARK, marker))]
    data = line + b"\r\n" + b"".join(lines) + b"\r\n" + body
    return Shot(data, marker, 0.5, may_close=True) if unsafe else Shot(data, marker)


def fire(port: int, shots: Sequence[Shot]) -> list[Answer]:
    """Send all at once, each on a connection of its own."""

    async def volley() -> list[Answer]:
        return await asyncio.gather(*(_fire(port, one) for one in shots))

    return asyncio.run(volley())


def fault(answer: Answer) -> str:
    """Return what is wrong with an answer, or nothing."""
    if not answer.status:
        return "" if answer.shot.may_close else f"no answer after {answer.after_s:.1f} s"
    if answer.status >= 500:
        return "an error of ours"
    if answer.status < 400 or answer.of_backend or answer.shot.data.startswith(b"HEAD "):
        return ""
    return _fault_of_problem(answer)


def told(answer: Answer) -> str:
    """Describe an exchange for the message of a failed test."""
    return f"{answer.shot.data[:600]!r} -> {answer.status} {answer.fields} {answer.body[:300]!r}"


def _fault_of_problem(answer: Answer) -> str:
    if not answer.is_problem:
        return f"{answer.fields.get('content-type')} is no problem+json"
    problem = msgspec.json.decode(answer.body)
    if problem.get("status") != answer.status or not problem.get("code"):
        return "the status is another, or there is no code"
    name = problem.get("request_id") or ""
    if name != answer.fields.get("x-request-id") or _NAME.fullmatch(name) is None:
        return "the request's name is not the one of its header, or not of our making"
    return ""


async def _fire(port: int, one: Shot) -> Answer:
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sending = asyncio.ensure_future(_send(writer, one.data))
    received = b""
    found: Answer | None = None
    try:
        async with asyncio.timeout(one.patience_s):
            while found is None and (piece := await reader.read(65_536)):
                received += piece
                found = _final(one, received)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        sending.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(sending, writer.wait_closed(), return_exceptions=True)
    return msgspec.structs.replace(found or Answer(one), after_s=time.monotonic() - started)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # the answer may come, and the end with it, before all is sent
        writer.write(data)
        await writer.drain()


def _final(one: Shot, received: bytes) -> Answer | None:
    """Return the first answer that is not an interim one, once it is whole."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    status = int(head.split(b" ", 2)[1])
    if status < 200 and status != 101:
        return _final(one, body)
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    fields = {name.decode("latin-1").lower(): value.strip().decode("latin-1") for name, _, value in lines}
    if status in (101, 204, 304) or one.data.startswith(b"HEAD "):
        return Answer(one, status, fields)
    if fields.get("transfer-encoding") == "chunked":
        return Answer(one, status, fields, body) if body.endswith(b"0\r\n\r\n") else None
    length = int(fields.get("content-length", 0))
    return Answer(one, status, fields, body[:length]) if len(body) >= length else None


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
