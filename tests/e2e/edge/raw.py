"""Bytes on a socket, for what a well-behaved client would never send."""

from __future__ import annotations

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
        lines = [line for line in self.raw.split(b"\r\n") if b"HTTP/1." in line[:12] or line[-40:].find(b"HTTP/1.") >= 0]
        return [int(line[line.find(b"HTTP/1.") :].split(b" ", 2)[1]) for line in lines]


def send(port: int, data: bytes, *, wait_s: float = 1.0) -> Answers:
    """Send `data`, and read until the server closes or is silent for `wait_s`."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        raw, closed = b"", False
        try:
            connection.sendall(data)
            while piece := connection.recv(65_536):
                raw += piece
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
