"""A repository in this process. The fake of the `GitHost` port."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from apx.errors import Conflict, NotFound
from apx.rollout.githost import (
    GitHost,
    Reverted,
    RevertWish,
    check_range,
    check_wish,
    has_to_change,
)

Files = Mapping[str, str]


class _Commit(msgspec.Struct, frozen=True):
    files: dict[str, str]
    parent: str


class MemoryGit(GitHost):
    """Commits, branches, and a pull request for each branch of a revert."""

    def __init__(self, main: str = "main") -> None:
        self.main = main
        self.branches: dict[str, str] = {}
        self._commits: dict[str, _Commit] = {}

    def commit(self, files: Files, branch: str = "") -> str:
        """Put a commit of these files, and no others, on a branch (main), and return its id."""
        branch = branch or self.main
        added = _Commit(dict(files), self.branches.get(branch, ""))
        commit = hashlib.sha1(msgspec.json.encode(added, order="sorted"), usedforsecurity=False).hexdigest()
        self._commits[commit] = added
        self.branches[branch] = commit
        return commit

    def files(self, commit: str) -> dict[str, str]:
        """Return the files of a commit. Raises `NotFound`."""
        if commit not in self._commits:
            raise NotFound(f"there is no commit {commit[:12]}")
        return dict(self._commits[commit].files)

    async def open_revert(self, wish: RevertWish) -> Reverted:
        """Open the revert, or return the one that is open."""
        check_wish(wish, self.main)
        good, bad = self._read(wish.good_commit, wish), self._read(wish.commit, wish)
        head, tip = self.branches[self.main], self.branches.get(wish.branch)
        if tip is not None and self._read(tip, wish) != good:
            raise Conflict(f"branch {wish.branch} holds something else: delete it")
        merged = tip is not None and self._is_in(tip, head)
        if tip is not None and not merged:
            return _reverted(wish.branch, tip)
        if not has_to_change(wish, good=good, bad=bad, main=self._read(head, wish)):
            return _reverted(wish.branch, tip) if tip is not None else _reverted(self.main, head)
        self.branches[wish.branch] = head
        kept = {path: text for path, text in self.files(head).items() if not _under(path, wish.paths)}
        return _reverted(wish.branch, self.commit({**kept, **good}, wish.branch))

    async def changed(self, since: str, commit: str, under: str) -> tuple[str, ...]:
        """Return the files under a folder that read differently in two commits."""
        check_range(since, commit, under)
        before, after = self.files(since), self.files(commit)
        differ = (path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        return tuple(sorted(path for path in differ if not under or _under(path, (under,))))

    def _read(self, commit: str, wish: RevertWish) -> dict[str, str]:
        return {path: text for path, text in self.files(commit).items() if _under(path, wish.paths)}

    def _is_in(self, commit: str, head: str) -> bool:
        while head and head != commit:
            head = self._commits[head].parent
        return head == commit


def _reverted(branch: str, commit: str) -> Reverted:
    return Reverted(where=f"{branch} @ {commit[:12]}", commit=commit)


def _under(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
