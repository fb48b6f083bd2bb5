"""Whoever runs a deployment: what they are told, and what they are asked."""

from __future__ import annotations

import os
import sys
from typing import Protocol


class Person(Protocol):
    """Reads and answers."""

    def say(self, text: str) -> None:
        """Show a text."""
        ...

    def ask(self, question: str) -> str | None:
        """Return what is typed, or None at once where nobody could type."""
        ...


class Terminal:
    """A person at a terminal. In CI, and behind a pipe, there is none."""

    def say(self, text: str) -> None:
        """Print it."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def ask(self, question: str) -> str | None:
        """Wait for a line, where there is a terminal and this is not CI."""
        if os.environ.get("CI") == "true" or not sys.stdin.isatty():
            return None
        try:
            return input(f"{question} ").strip()
        except EOFError:
            return None
