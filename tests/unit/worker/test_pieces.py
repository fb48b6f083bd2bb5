from __future__ import annotations

import base64
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.requests.execution_call import Headers
from apx.requests.execution_stream import Base64Pieces, EventPieces, Pieces, TextPieces, pieces_for


def all_of(pieces: Pieces, chunks: Iterable[bytes]) -> list[str]:
    found = [piece for chunk in chunks for piece in pieces.feed(chunk)]
    return found + list(pieces.end())


STREAM = (
    b"\xef\xbb\xbf: a comment\n"
    b"event: word\nid: 1\ndata: one\n\n"
    b"data:two\r\ndata:  2 \r\n\r\n"
    b"data\rdata\r\r"
    b"retry: 10\n\n"
    b"data: caf\xc3\xa9\n\n"
    b"data: cut off\n"
)
DATA = ["one", "two\n 2 ", "\n", "café"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_the_stream_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in pairwise(edges)]
    assert all_of(EventPieces(), chunks) == DATA


def test_an_event_is_there_as_soon_as_its_blank_line() -> None:
    pieces = EventPieces()
    assert list(pieces.feed(b"data: one\n")) == []
    assert list(pieces.feed(b"\ndata: tw")) == ["one"]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 5))
def test_text_is_never_cut_inside_a_character(text: str, step: int) -> None:
    content = text.encode()
    chunks = [content[n : n + step] for n in range(0, len(content), step)]
    assert "".join(all_of(TextPieces(), chunks)) == text


def test_bytes_that_are_no_text_are_marked() -> None:
    assert "".join(all_of(TextPieces(), [b"a\xff", b"\xe2\x82"])) == "a\ufffd\ufffd"


def test_other_content_comes_in_base64() -> None:
    assert all_of(Base64Pieces(), [b"\x00\x01", b"", b"\xff"]) == [
        base64.b64encode(b"\x00\x01").decode(),
        base64.b64encode(b"\xff").decode(),
    ]


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ((("content-type", "text/event-stream"),), EventPieces),
        ((("content-type", "Text/Event-Stream; charset=utf-8"),), EventPieces),
        ((("content-type", "text/plain; charset=latin-1"),), TextPieces),
        ((("content-type", "application/json"),), TextPieces),
        ((("content-type", "application/problem+json"),), TextPieces),
        ((("content-type", "application/x-ndjson"),), TextPieces),
        ((("content-type", "text/plain; charset=no-such"),), Base64Pieces),
        ((("content-type", "text/plain; charset=rot13"),), Base64Pieces),
        ((("content-type", "application/octet-stream"),), Base64Pieces),
        ((("content-type", "text/plain"), ("content-encoding", "gzip")), Base64Pieces),
        ((), Base64Pieces),
    ],
)
def test_the_content_type_decides(headers: Headers, kind: type) -> None:
    assert isinstance(pieces_for(headers), kind)
