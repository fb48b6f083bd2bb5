import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from apx.telemetry import logs, tracing


class Sink:
    """The file that a configured process logs to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[dict[str, Any]]:
        assert logs.flush(5.0)
        return [json.loads(line) for line in self._path.read_text("utf-8").splitlines()]

    def text(self) -> str:
        assert logs.flush(5.0)
        return self._path.read_text("utf-8")


@pytest.fixture
def untouched_process() -> Iterator[None]:
    """Put back what `logs.configure` changes for the whole process."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    yield
    logs.close()
    structlog.reset_defaults()
    root.handlers[:], sys.excepthook, threading.excepthook = before[0], before[2], before[3]
    root.setLevel(before[1])


@pytest.fixture
def sink(tmp_path: Path, untouched_process: None) -> Iterator[Sink]:
    del untouched_process
    path = tmp_path / "log.jsonl"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    logs.configure("router", "info", fd=fd)
    yield Sink(path)
    logs.close()
    os.close(fd)


@pytest.fixture
def no_tracing() -> Iterator[None]:
    yield
    tracing.shutdown()
