"""HTTP/2 frames, as few as an attack needs (RFC 9113; header fields as HPACK literals, RFC 7541, 6.2.2)."""

from __future__ import annotations

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
END_STREAM, END_HEADERS = 1, 4

Fields = list[tuple[bytes, bytes]]


def get(path: bytes, *more: tuple[bytes, bytes]) -> Fields:
    pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"edge"), (b":path", path)]
    return [*pseudo, *more]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(stream: int, fields: Fields, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields))


def talk(port: int, *frames: bytes, wait_s: float = 0.5) -> tuple[set[int], bool]:
    """Send frames on a new connection; return the types of the frames that came back, and whether it was closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        raw, closed = b"", False
        try:
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + b"".join(frames))
            while piece := connection.recv(65_536):
                raw += piece
            closed = True
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    return _kinds(raw), closed


def _text(value: bytes) -> bytes:
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, size = b"", len(value) - 127
    while size >= 128:
        rest, size = rest + bytes([size % 128 + 128]), size // 128
    return b"\x7f" + rest + bytes([size]) + value


def _kinds(raw: bytes) -> set[int]:
    kinds, at = set(), 0
    while at + 9 <= len(raw):
        kinds.add(raw[at + 3])
        at += 9 + int.from_bytes(raw[at : at + 3], "big")
    return kinds
