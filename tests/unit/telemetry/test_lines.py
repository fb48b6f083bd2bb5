import fcntl
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apx.telemetry.lines import LineWriter
from apx.telemetry.metrics import LOG_LINES_DROPPED

LINE = b'{"event":"request"}\n'


def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        threading.Event().wait(0.005)


def dropped(cause: str) -> Callable[[], float]:
    before = LOG_LINES_DROPPED.value(cause)
    return lambda: LOG_LINES_DROPPED.value(cause) - before


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


def test_lines_come_out_whole_and_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = LineWriter(file.fileno())
        for n in range(5000):
            writer.write(b"%d\n" % n)
        writer.close(5.0)
    assert (tmp_path / "log").read_bytes().split() == [b"%d" % n for n in range(5000)]


def test_a_line_is_written_soon_without_a_flush(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing)
    writer.write(LINE)
    assert os.read(reading, 100) == LINE
    writer.close()


def test_a_full_disk_drops_lines_counts_them_and_raises_nothing() -> None:
    lost = dropped("write")
    with Path("/dev/full").open("wb", buffering=0) as full:
        writer = LineWriter(full.fileno())
        for _ in range(100):
            writer.write(LINE)
        assert writer.flush(5.0)
        writer.close()
    assert lost() == 100


def test_writing_goes_on_when_the_disk_has_room_again(tmp_path: Path) -> None:
    lost = dropped("write")
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(fd)
    writer.write(LINE)
    assert writer.flush(5.0)
    mended = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(mended, fd)
    writer.write(LINE)
    writer.close(5.0)
    os.close(fd)
    os.close(mended)
    assert (lost(), (tmp_path / "log").read_bytes()) == (1, LINE)


def test_a_reader_that_stalls_costs_lines_but_never_time(pipe: tuple[int, int]) -> None:
    lost = dropped("full")
    writer = LineWriter(pipe[1], max_bytes=200_000)
    started = time.monotonic()
    for _ in range(50_000):
        writer.write(LINE)
    took_s = time.monotonic() - started
    os.close(pipe[0])  # lets the thread end: its write fails
    assert lost() > 30_000
    assert took_s < 5.0
    writer.close()


def test_a_non_blocking_descriptor_that_is_full_is_waited_for(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
    writer = LineWriter(writing)
    for _ in range(20_000):  # 400 kB, six times what a pipe holds
        writer.write(LINE)
    left = 20_000 * len(LINE)
    while left:
        left -= len(os.read(reading, 65_536))
    writer.close()


def test_a_reader_that_went_away_costs_lines_and_raises_nothing(pipe: tuple[int, int]) -> None:
    lost = dropped("write")
    os.close(pipe[0])
    writer = LineWriter(pipe[1])
    writer.write(LINE)
    writer.close(5.0)
    assert lost() == 1


def test_a_line_after_a_torn_one_starts_anew(tmp_path: Path) -> None:
    lost = dropped("write")
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    writer = TornWriter(fd)
    writer.write(b'{"n":1}\n')
    assert writer.flush(5.0)
    writer.write(b'{"n":2}\n')
    writer.close(5.0)
    os.close(fd)
    torn, whole = (tmp_path / "log").read_bytes().splitlines()
    assert (lost(), torn, json.loads(whole)) == (1, b'{"n"', {"n": 2})


class TornWriter(LineWriter):
    """Its first line meets a disk that fills up after four bytes."""

    room = 4

    def _write(self, data: memoryview) -> int:
        if self.room == 0:
            self.room = 1 << 20
            raise OSError(28, "No space left on device")
        written = super()._write(data[: self.room])
        self.room -= written
        return written


def test_a_child_process_after_a_fork_writes_its_own_lines(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing)
    child = fork_quietly()
    if child == 0:
        writer.write(b"child\n")
        writer.close(5.0)
        os._exit(0)
    os.waitpid(child, 0)
    writer.close()
    assert os.read(reading, 100) == b"child\n"


def fork_quietly() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later warn of threads: that is what is tested
        return os.fork()
