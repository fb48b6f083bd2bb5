"""What a change does, for its pull request: `python -m checks.impact [--stacks] [BASE [HEAD]]`, or `./dev impact`.

To decisions, by `apx policy diff`; with `--stacks` to the synthesised infrastructure. Prints Markdown; exits 0 also
when there is a difference, as that is for people to judge.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from checks.pull_request import Subject, look, tell

APX = str(Path(sys.executable).with_name("apx"))
DECISIONS = Subject(marker="<!-- apx: decision impact -->", nothing="No decision changes.", more="./dev impact")
STACKS = Subject(marker="<!-- apx: stacks -->", nothing="No stack changes.", more="./dev diff --offline main")


def main(arguments: Sequence[str]) -> int:
    """Print one of them; 0, or 1 when it cannot be said."""
    commits = [one for one in arguments if one != "--stacks"]
    base, head = (*commits, *("origin/main", "HEAD")[len(commits) :])[:2]
    decisions = (APX, "policy", "diff", base, head, "--markdown")
    stacks = (sys.executable, "-m", "stacks.changes", base, head, "--markdown")
    said = look(STACKS, stacks) if "--stacks" in arguments else look(DECISIONS, decisions)
    if isinstance(said, int):
        return said
    sys.stdout.write(said.comment)
    tell(said, os.environ)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
