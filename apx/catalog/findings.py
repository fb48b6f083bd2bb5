"""What the checks find, gathered with its place."""

from __future__ import annotations

from apx.catalog.document import Document
from apx.catalog.mistakes import Mistake, Path, show_path


class Findings:
    """The mistakes of one document. With `given_only`, those about values that the file does not give are left out."""

    def __init__(self, document: Document, *, given_only: bool) -> None:
        self.mistakes: list[Mistake] = []
        self.document = document
        self._given_only = given_only

    def add(self, path: Path, code: str, message: str, *, at_key: bool = False) -> None:
        """Note a mistake at `path`."""
        if self._given_only and not self.document.holds(path):
            return
        self.mistakes.append(self.document.mistake(path, code, f"{show_path(path)}: {message}", at_key=at_key))
