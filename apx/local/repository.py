"""The platform's own Git repository, `<home>/gitops.git`: what a host's would be elsewhere.

`up` commits the gitops tree that it serves, so that each release knows the commit that it was built from, and the
monitor has a place to open reverts in. It is bare and nobody's working tree; add it as a remote to push or fetch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from apx.errors import Unavailable

MAIN = "main"
ROOT = "gitops"
"""The tree's path in the repository."""
_TIMEOUT_S = 30.0
_NOBODY = {
    "GIT_AUTHOR_NAME": "APX",
    "GIT_AUTHOR_EMAIL": "apx@localhost",
    "GIT_COMMITTER_NAME": "APX",
    "GIT_COMMITTER_EMAIL": "apx@localhost",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
}


def repository(home: Path) -> Path:
    """Return where the repository of a data folder is."""
    return home / "gitops.git"


def commit_tree(home: Path, tree: Path) -> str | None:
    """Commit a tree to the main branch when it differs from what is there; return the commit that holds it.

    None where there is no Git: the platform runs without, and puts no repository right. Raises `Unavailable` with what
    Git complains of.
    """
    if shutil.which("git") is None:
        return None
    bare = repository(home)
    if not (bare / "HEAD").exists():
        _git(bare, "init", "--quiet", "--bare", f"--initial-branch={MAIN}", str(bare), inside=False)
    written = _written(bare, tree)
    head = _git(bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{MAIN}").strip()
    if head and _git(bare, "rev-parse", f"{head}^{{tree}}").strip() == written:
        return head
    parents = ("-p", head) if head else ()
    commit = _git(bare, "commit-tree", written, *parents, "-m", f"Serve {ROOT}/ as `up` found it").strip()
    _git(bare, "update-ref", f"refs/heads/{MAIN}", commit, head)
    return commit


def _written(bare: Path, tree: Path) -> str:
    """Write a folder's files as a tree object under `ROOT`; return its id."""
    with tempfile.TemporaryDirectory(prefix="apx-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index"), "GIT_WORK_TREE": str(tree)}
        _git(bare, "add", "--all", "--force", ".", more=index, at=tree)
        files = _git(bare, "write-tree", more=index).strip()
    return _git(bare, "mktree", said=f"040000 tree {files}\t{ROOT}\n").strip()


def _git(
    bare: Path,
    *words: str,
    more: dict[str, str] | None = None,
    at: Path | None = None,
    said: str = "",
    inside: bool = True,
) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    here = {"GIT_DIR": str(bare)} if inside else {}
    try:
        done = subprocess.run(  # noqa: S603 -- fixed words and our own paths, no shell
            ["git", *words],  # noqa: S607 -- whichever Git is on PATH
            cwd=at,
            input=said,
            env={**kept, **_NOBODY, **here, **(more or {})},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{bare}: git {words[0]}: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{bare}: git {words[0]}: {error}") from error
    return done.stdout
