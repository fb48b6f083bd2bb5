from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.tail import Tail


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.log"


@contextlib.contextmanager
def _tail(path: Path) -> Iterator[Tail]:
    tail = Tail(path)
    try:
        yield tail
    finally:
        tail.close()


def _all(tail: Tail) -> list[bytes]:
    found = []
    while lines := tail.read():
        found += lines
    return found


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_there_is_nothing_to_read_before_the_file_is_there(path: Path) -> None:
    with _tail(path) as tail:
        assert tail.read() == []
        _append(path, b"one\n")
        _all(tail)
        _append(path, b"two\n")
        assert _all(tail) == [b"two"]


def test_a_torn_line_waits_for_its_rest(path: Path) -> None:
    path.touch()
    with _tail(path) as tail:
        tail.read()
        _append(path, b"one\ntw")
        assert _all(tail) == [b"one"]
        _append(path, b"o\n")
        assert _all(tail) == [b"two"]


def test_where_nothing_is_remembered_it_begins_at_the_next_whole_line(path: Path) -> None:
    for before in (b"old\n", b"old\nto"):
        path.write_bytes(before)
        path.with_suffix(".position").unlink(missing_ok=True)
        with _tail(path) as tail:
            assert _all(tail) == []
            _append(path, b"rn\nnew\n" if before.endswith(b"to") else b"new\n")
            assert _all(tail) == [b"new"]


def test_a_file_that_is_emptied_is_read_from_its_beginning(path: Path) -> None:
    path.touch()
    with _tail(path) as tail:
        tail.read()
        _append(path, b"a long line that was here before\n")
        assert _all(tail) == [b"a long line that was here before"]
        path.write_bytes(b"new\n")
        assert _all(tail) == [b"new"]


def test_a_line_without_an_end_is_passed_over_and_holds_nothing_up(path: Path) -> None:
    path.touch()
    with _tail(path) as tail:
        tail.read()
        _append(path, b"x" * 3_000_000)
        assert _all(tail) == []
        _append(path, b"its end\nnew\n")
        assert _all(tail) == [b"new"]


def test_a_position_that_cannot_be_read_is_none(path: Path) -> None:
    path.write_bytes(b"old\n")
    path.with_suffix(".position").write_bytes(b"{")
    with _tail(path) as tail:
        assert _all(tail) == []


def test_what_was_handed_out_is_remembered_before(path: Path) -> None:
    path.touch()
    with _tail(path) as tail:
        tail.read()
        _append(path, b"one\ntwo\n")
        assert tail.read() == [b"one", b"two"]  # and here the process dies
    with _tail(path) as tail:
        assert _all(tail) == []


_STEPS = st.lists(st.one_of(st.integers(1, 40), st.sampled_from(["read", "rotate", "restart"])), max_size=40)


@given(st.lists(st.text("ab c", max_size=12), max_size=40), _STEPS)
def test_each_line_is_read_once_however_it_is_cut_moved_and_restarted(texts: list[str], steps: list[int | str]) -> None:
    lines = [b"%d %s" % (number, text.encode()) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.log"
        path.touch()
        tail, found = Tail(path), []
        tail.read()
        _append(path, b"-\n")
        found += tail.read()
        left = b"".join(line + b"\n" for line in lines)
        for step in [*steps, len(left)]:
            if isinstance(step, int):
                _append(path, left[:step])
                left = left[step:]
            elif step == "read":
                found += tail.read()
            elif step == "restart":
                tail.close()
                tail = Tail(path)
            elif path.read_bytes().endswith(b"\n"):
                found += _all(tail)
                path.replace(tail.rotated)  # as it is done: by the reader, once it has read all
                path.touch()
        found += _all(tail)
        tail.close()
    assert found == [b"-", *lines]


def test_what_is_written_between_the_last_look_and_the_move_is_read(path: Path) -> None:
    path.touch()
    with _tail(path) as tail:
        tail.read()
        _append(path, b"one\n")
        assert _all(tail) == [b"one"]
        with path.open("ab") as writer:
            path.replace(tail.rotated)
            writer.write(b"two\n")  # the writer has not noticed yet
        assert _all(tail) == [b"two"]
        path.write_bytes(b"three\n")
        assert _all(tail) == [b"three"]
