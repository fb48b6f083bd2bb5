"""The repository that the demo commits to: a clone of the platform's own, whose main branch it pushes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from apx.errors import Misconfigured

_IDENTITY = ("-c", "user.name=APX demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")


class Clone:
    """A working copy of a bare repository."""

    def __init__(self, bare: Path, folder: Path) -> None:
        """Clone `bare` into `folder`, anew."""
        shutil.rmtree(folder, ignore_errors=True)
        self.bare, self.folder = bare, folder
        git("clone", "--quiet", "--branch", "main", str(bare), str(folder), at=bare)

    @property
    def gitops(self) -> Path:
        """Return the gitops tree."""
        return self.folder / "gitops"

    def commit(self, message: str) -> str:
        """Commit and push everything; return the commit."""
        git("add", "--all", at=self.folder)
        git(*_IDENTITY, "commit", "--quiet", "--allow-empty", "--message", message, at=self.folder)
        git("push", "--quiet", "origin", "HEAD:main", at=self.folder)
        return git("rev-parse", "HEAD", at=self.folder).strip()

    def shown(self, revision: str) -> str:
        """Return a commit of the platform's repository as Git shows it: message, files, what changed."""
        return git("show", "--stat", "--patch", "--format=commit %h%n%n%B", revision, at=self.bare)


def git(*words: str, at: Path) -> str:
    """Run Git; return what it prints. Raises `Misconfigured` with what it complains of."""
    try:
        done = subprocess.run(  # noqa: S603 -- fixed words and our own paths, no shell
            ["git", "-C", str(at), *words],  # noqa: S607 -- whichever Git is on PATH
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except FileNotFoundError as error:
        raise Misconfigured("the demo needs git: install it and run this again") from error
    except subprocess.CalledProcessError as error:
        raise Misconfigured(f"git {words[0]}: {error.stderr.strip()}") from error
    return done.stdout
