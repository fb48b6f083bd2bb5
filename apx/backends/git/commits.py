"""A folder of a Git repository as it was at a commit, written elsewhere: no working tree and no index is touched.

Git's objects are read by `ls-tree` and `cat-file`, and not by `archive`, which leaves out or rewrites files as their
attributes say.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from apx.errors import InvalidCatalog, Misconfigured, Unavailable

MOST_BYTES = 64 * 1024 * 1024
"""Twice what a gitops tree may have."""
_TIMEOUT_S = 60.0
_FILES, _LINK = ("100644", "100755"), "120000"


class _Entry(msgspec.Struct, frozen=True):
    mode: str
    blob: str
    size_bytes: int
    path: PurePosixPath


class Commits:
    """The commits of the repository that holds a folder."""

    def __init__(self, folder: Path) -> None:
        """Take the repository that `folder` lies in; it need not be clean."""
        self._folder = folder

    def resolve(self, name: str) -> str | None:
        """Return the id of the commit of this name; None where there is none, or no repository.

        Raises `Misconfigured` without Git, `Unavailable` when it hangs.
        """
        if not self._folder.is_dir() or not name or "\0" in name:
            return None
        found = self._git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"])
        return found.stdout.decode().strip() if found.returncode == 0 else None

    def lay_out(self, commit: str, target: Path) -> None:
        """Write the folder as it was at `commit` (an id) into `target`, which is made.

        Raises `InvalidCatalog` where the commit has no such folder, or one that is too large or leads out of itself.
        """
        target.mkdir(parents=True)
        entries = list(self._entries(commit))
        if not entries:
            raise InvalidCatalog(f"commit {commit[:12]} has no files in {self._folder}")
        if sum(entry.size_bytes for entry in entries) > MOST_BYTES:
            raise InvalidCatalog(f"commit {commit[:12]}: {self._folder} is over {MOST_BYTES} bytes")
        contents = self._contents([entry.blob for entry in entries])
        # Links last: nothing is ever written through one.
        for entry, content in sorted(zip(entries, contents, strict=True), key=lambda one: one[0].mode == _LINK):
            path = target / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.mode == _LINK:
                path.symlink_to(content.decode(errors="surrogateescape"))
            else:
                path.write_bytes(content)

    def _entries(self, commit: str) -> Iterator[_Entry]:
        prefix = self._output(["rev-parse", "--show-prefix"]).decode().removesuffix("\n").rstrip("/")
        listed = self._output(["ls-tree", "-r", "-z", "-l", "--full-tree", f"{commit}:{prefix}"], or_else=b"")
        for line in listed.split(b"\0"):
            if not line:
                continue
            described, _, name = line.partition(b"\t")
            mode, _, blob, size = described.decode().split()
            path = PurePosixPath(name.decode(errors="surrogateescape"))
            if path.is_absolute() or ".." in path.parts:
                raise InvalidCatalog(f"commit {commit[:12]}: {path} leads out of the folder")
            if mode in _FILES or mode == _LINK:
                yield _Entry(mode, blob, int(size), path)

    def _contents(self, blobs: Sequence[str]) -> Iterator[bytes]:
        answer = self._output(["cat-file", "--batch"], stdin="".join(f"{blob}\n" for blob in blobs).encode())
        at = 0
        for _ in blobs:
            end = answer.index(b"\n", at)
            size = int(answer[at:end].split()[2])
            yield answer[end + 1 : end + 1 + size]
            at = end + 1 + size + 1

    def _output(self, arguments: Sequence[str], *, stdin: bytes = b"", or_else: bytes | None = None) -> bytes:
        done = self._git(arguments, stdin)
        if done.returncode == 0:
            return done.stdout
        if or_else is not None:
            return or_else
        raise InvalidCatalog(f"{self._folder}: git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")

    def _git(self, arguments: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(  # noqa: S603 -- fixed words, names after --end-of-options, no shell
                ["git", "-C", str(self._folder), *arguments],  # noqa: S607
                input=stdin,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"git {arguments[0]} did not end within {_TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise Misconfigured(f"git cannot be started: {error}") from error
