"""Trees with one mistake each: `tests/golden/broken/NAME/` laid over `tests/golden/broken_base/`.

`python -m tests.unit.catalog.broken_trees [NAME …]` writes what is found into `expected.txt` of each; read the diff.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from apx.catalog.load import find_mistakes

GOLDEN = Path(__file__).parents[2] / "golden"
BASE = GOLDEN / "broken_base"
NAMES = sorted(folder.name for folder in (GOLDEN / "broken").iterdir())


def lay_out(name: str, folder: Path) -> Path:
    """Write the whole tree of one case into `folder` and return its root."""
    root = folder / "gitops"
    shutil.copytree(BASE, root)
    shutil.copytree(GOLDEN / "broken" / name, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("expected.txt"))
    return root


def found(root: Path) -> str:
    """Return what is found, as `expected.txt` holds it."""
    return "".join(f"{mistake}\n" for mistake in find_mistakes(root)[1])


def expected_file(name: str) -> Path:
    """Return where the expectation of a case stands."""
    return GOLDEN / "broken" / name / "expected.txt"


def main() -> None:
    """Write the expectations of the cases named, or of all."""
    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            expected_file(name).write_text(found(lay_out(name, Path(folder))))


if __name__ == "__main__":
    main()
