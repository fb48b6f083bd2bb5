"""What is wrong in a gitops tree: one mistake, one place, one way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

import msgspec

Path = tuple[str | int, ...]
"""Where in a file: `("spec", "routes", 0, "timeout_s")`."""

MOST_MISTAKES = 1000
"""More are not collected: nobody reads them, and the tree is probably not a gitops tree."""

_LONGEST_SHOWN = 60
_MOST_CHOICES = 100


class Mistake(msgspec.Struct, frozen=True, order=True):
    """One mistake. `line` and `column` count from 1; `code` is stable; the message ends with the way out."""

    file: str
    """Relative to the folder that holds the tree: `gitops/products/orders/product.yaml`."""
    line: int
    column: int
    code: str
    message: str

    def __post_init__(self) -> None:
        """Escape what a file or its name holds to move a cursor or forge a line."""
        msgspec.structs.force_setattr(self, "file", printable(self.file))
        msgspec.structs.force_setattr(self, "message", printable(self.message))

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message} [{self.code}]"


def show_path(path: Path) -> str:
    """Write a path as people do: `spec.routes[0].timeout_s`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{_step(step)}" for step in path)
    return text.removeprefix(".")


def show(value: object) -> str:
    """Write an offending value on one short line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}… ({len(text)} characters)"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `: did you mean 'x'?`, or else `: known are 'a', 'b'`; for the end of a message."""
    known = sorted(choices)
    alike = (name for name in known if name[:2] == word[:2] or name[-2:] == word[-2:])
    candidates = known if len(known) <= _MOST_CHOICES else list(islice(alike, _MOST_CHOICES))
    close = get_close_matches(word[:_LONGEST_SHOWN], candidates, n=1)
    if close:
        return f": did you mean '{close[0]}'?"
    listed = ", ".join(f"'{name}'" for name in known[:20])
    return f": known are {listed}" if listed else ": there are none yet"


def printable(text: str) -> str:
    """Return a text on one line, with escapes for what a terminal would act upon or cannot show."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _step(step: str) -> str:
    return step if len(step) <= _LONGEST_SHOWN else step[:_LONGEST_SHOWN] + "…"
