"""Bytes on a socket, for what a well-behaved client would never send."""

from __future__ import annotations

import re
import socket
import time

import msgspec


class Answers(msgspec.Struct, frozen=True):
    """What came back until the server closed or `wait_s` passed without a byte."""

    raw: bytes
    closed: bool
    after_s: float

    @property
    def statuses(self) -> list[int]:
        return [int(found) for found in _STATUS.findall(self.raw)]


_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ")
_REST_S = 0.05


def send(port: int, data: bytes, *, wait_s: float = 1.0) -> Answers:
    """Send `data`, and read until the server closes, is silent for `wait_s`, or shortly so after it has begun."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        raw, closed = b"", False
        try:
            connection.sendall(data)
            while piece := connection.recv(65_536):
                raw += piece
                connection.settimeout(min(wait_s, _REST_S))
            closed = True
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    return Answers(raw, closed, time.monotonic() - started)


def request(line: str, *headers: str, body: bytes = b"", host: str = "Host: edge") -> bytes:
    """Return an HTTP/1.1 request as bytes (Latin-1)."""
    lines = [line, *([host] if host else []), *headers]
    return "".join(f"{one}\r\n" for one in lines).encode("latin-1") + b"\r\n" + body
