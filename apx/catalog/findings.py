"""What the checks find, gathered with its place."""

from __future__ import annotations

from apx.catalog.document import Document
from apx.catalog.mistakes import Mistake, Path, show_path

_MOST_OF_ONE_DOCUMENT = 100


class Findings:
    """The mistakes of one document; those about parts that were repaired, or that it does not give, are left out."""

    def __init__(self, document: Document, repaired: frozenset[Path], into: list[Mistake]) -> None:
        self.document = document
        self._repaired = repaired
        self._into = into
        self._count = 0

    @property
    def sound(self) -> bool:
        """Whether the resource says what its document says."""
        return not self._repaired

    @property
    def full(self) -> bool:
        """Whether there are so many mistakes that the document need not be looked at further."""
        return self._count >= _MOST_OF_ONE_DOCUMENT

    def add(self, path: Path, code: str, message: str, *, at_key: bool = False) -> None:
        """Note a mistake at `path`."""
        if self._repaired and not self._is_given(path):
            return
        self._count += 1
        self._into.append(self.document.mistake(path, code, f"{show_path(path)}: {message}", at_key=at_key))

    def _is_given(self, path: Path) -> bool:
        above = (path[:length] for length in range(len(path) + 1))
        return self.document.holds(path) and self._repaired.isdisjoint(above)
