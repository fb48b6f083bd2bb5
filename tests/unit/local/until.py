from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest


def until(condition: Callable[[], bool], *, within_s: float) -> None:
    """Poll a condition, at most `within_s`."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not so within {within_s} s")
        pause.wait(0.02)
