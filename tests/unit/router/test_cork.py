"""One write for an answer, and nothing held longer than a turn of the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.router.cork import Cork
from tests.unit.router.desk import Desk
from tests.unit.router.wire import Wire


class Line(asyncio.Transport):
    """A transport that shows each write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        assert not self.closed, "nothing is written to a closed transport"

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def cork(line: Line) -> Cork:
    return Cork(line, asyncio.get_running_loop())


async def test_a_head_and_its_body_are_one_write(cork: Cork, line: Line) -> None:
    cork.write(b"head")
    assert not line.written
    cork.write(b"body")
    assert line.written == [b"headbody"]
    await asyncio.sleep(0)
    assert line.written == [b"headbody"], "written once"


async def test_a_head_without_a_body_goes_out_when_the_turn_ends(cork: Cork, line: Line) -> None:
    cork.write(b"head")
    await asyncio.sleep(0)
    assert line.written == [b"head"]
    cork.write(b"a chunk, later")
    await asyncio.sleep(0)
    assert line.written == [b"head", b"a chunk, later"]


async def test_an_empty_body_sends_the_head(cork: Cork, line: Line) -> None:
    cork.write(b"head")
    cork.write(b"")
    assert line.written == [b"head"]
    cork.write(b"")
    await asyncio.sleep(0)
    assert line.written == [b"head"]


async def test_what_is_long_goes_out_at_once_so_that_a_full_transport_can_say_so(cork: Cork, line: Line) -> None:
    cork.write(b"x" * 5000)
    assert len(line.written) == 1
    for _ in range(10):
        cork.write(b"small")
    assert len(b"".join(line.written)) >= 5000 + 9 * 5, "at most one small piece is held"


async def test_the_order_stays_and_closing_loses_nothing(cork: Cork, line: Line) -> None:
    cork.write(b"1")
    cork.write_whole(b"2")
    cork.write(b"3")
    cork.close()
    await asyncio.sleep(0)
    assert (b"".join(line.written), line.closed) == (b"123", True)


async def test_what_is_held_for_a_client_that_goes_away_meanwhile_is_dropped(cork: Cork, line: Line) -> None:
    cork.write(b"head")
    line.closed = True
    await asyncio.sleep(0)
    assert not line.written


async def test_an_accepted_request_is_answered_in_one_write(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, writes = Wire(desk), list[bytes]()
    write = wire.write

    def seen(data: Any) -> None:
        writes.append(bytes(data))
        write(data)

    monkeypatch.setattr(wire, "write", seen)
    status, document = await wire.answer(desk.key)
    assert (status, document["state"]) == (202, "accepted")
    assert len(writes) == 1
