"""What Ctrl-C, a request to stop and a lost terminal do while a platform starts, runs and stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for each of them."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore them while a platform stops: an impatient second Ctrl-C would leave half of it behind."""
    with _handled_by(signal.SIG_IGN):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it hears signals
        return
    before = [(number, signal.signal(number, handler)) for number in STOPPING]
    try:
        yield
    finally:
        for number, previous in before:
            signal.signal(number, previous)
