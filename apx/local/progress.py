"""What `up` says while it works: on stderr, since stdout belongs to the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Hears what happens."""

    def doing(self, text: str) -> None:
        """Something begins; it may take a while."""
        ...

    def done(self, text: str) -> None:
        """Something is finished."""
        ...


class Silent:
    """Says nothing."""

    def doing(self, text: str) -> None:
        """Ignore it."""

    def done(self, text: str) -> None:
        """Ignore it."""


class Lines:
    """One plain line for each thing that is finished."""

    def doing(self, text: str) -> None:
        """Leave it out: its end is worth a line, its beginning is not."""

    def done(self, text: str) -> None:
        """Write it."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


@contextmanager
def for_terminal() -> Iterator[Progress]:
    """Yield what suits stderr: a spinner with ticks on a terminal, lines otherwise."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console  # noqa: PLC0415 -- a tenth of a second that only a terminal needs

    console = Console(stderr=True, highlight=False, markup=False)
    with console.status("starting") as status:
        yield _Spinner(lambda text: console.print("✓", text), status.update)


class _Spinner:
    def __init__(self, write: Callable[[str], object], update: Callable[[str], object]) -> None:
        self._write = write
        self._update = update

    def doing(self, text: str) -> None:
        self._update(text)

    def done(self, text: str) -> None:
        self._write(text)
