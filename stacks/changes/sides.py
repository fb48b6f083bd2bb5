"""The two sides of a comparison: trees of commits, or the working tree, and what they synthesise to.

The interpreter and the packages are this checkout's; everything else is the commit's: its stacks, its environments, its
gitops tree. Whatever a commit's code does, synthesising it does.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from apx.backends.git.commits import Commits
from apx.errors import Misconfigured, NotFound
from stacks.changes.synthesised import Tree, read_folder

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-stacks" / "bin" / "python"
WORKING_TREE = "working tree"
AT_A_TIME = 2
"""Each is a Python and a Node, which hold half a gigabyte."""
TIMEOUT_S = 300
_OURS = ("JSII_", "PYTHON", "APX_")
"""Variables that are about this process, or about whoever runs it."""
_MOST_LINES = 12


class Side(msgspec.Struct, frozen=True):
    """A tree of files that has stacks, or has none yet."""

    name: str
    """As it was given: `origin/main`, `HEAD~3`."""
    folder: Path

    @property
    def environments(self) -> frozenset[str]:
        """Return the names of the environments it has."""
        return frozenset(path.stem for path in self.folder.glob("stacks/environments/*.yaml"))


@contextmanager
def side(name: str | None) -> Iterator[Side]:
    """Give the tree of a commit, in a folder that goes away; the working tree for None.

    Raises `NotFound` for what is no commit.
    """
    if name is None:
        yield Side(WORKING_TREE, ROOT)
        return
    commits = Commits(ROOT)
    commit = commits.resolve(name)
    if commit is None:
        raise NotFound(f"{name!r} is no commit of {ROOT}: give a branch, a tag or an id (a shallow clone has few).")
    with TemporaryDirectory(prefix="apx-changes-") as folder:
        commits.lay_out(commit, Path(folder, "tree"))
        yield Side(name, Path(folder, "tree"))


def synthesise(sides: Sequence[Side], environments: Sequence[str]) -> Mapping[tuple[str, str], Tree]:
    """Synthesise each environment on each side, two at a time; by the side's name and the environment's.

    Raises `Misconfigured`, naming side and environment, for the first that does not synthesise.
    """
    if not PYTHON.exists():
        raise Misconfigured(f"{PYTHON} is not here: run `./dev synth` once, which installs it.")
    wanted = [(side, environment) for side in sides for environment in environments]
    with ThreadPoolExecutor(max_workers=AT_A_TIME) as pool:
        trees = pool.map(lambda one: _synthesised(*one), wanted)
        return {(side.name, name): tree for (side, name), tree in zip(wanted, trees, strict=True)}


def _synthesised(side: Side, environment: str) -> Tree:
    with TemporaryDirectory(prefix="apx-changes-") as out:
        command = (str(PYTHON), "-m", "stacks", "--environment", environment, "--out", out)
        variables = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        try:
            done = subprocess.run(  # noqa: S603 -- this checkout's interpreter
                command, cwd=side.folder, env=variables, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise Misconfigured(f"{side.name}: {environment} does not synthesise in {TIMEOUT_S} s.") from error
        if done.returncode != 0:
            raise Misconfigured(f"{side.name}: {environment} does not synthesise:\n{_last(done.stderr)}")
        return read_folder(Path(out), environment)


def _last(text: str) -> str:
    """Return the lines that say what was wrong: of a traceback its end."""
    lines = [line for line in text.splitlines() if line.strip() and "DeprecationWarning" not in line]
    return "\n".join(f"  {line}" for line in lines[-_MOST_LINES:])
