"""Git's trees over GitHub's API: read once each, compared by id, and rebuilt along the paths that change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from github import InputGitTreeElement, UnknownObjectException
from github.GitTree import GitTree
from github.Repository import Repository

from apx.errors import NotFound, Unsupported

_IS_TREE = "tree"


class Entry(msgspec.Struct, frozen=True):
    """What a name in a tree stands for."""

    mode: str
    type: str
    sha: str


Names = dict[str, Entry]
Path = tuple[str, ...]


class Trees:
    """The trees of one repository. Blocking; for one thread."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._read: dict[str, Names] = {}

    def of_commit(self, commit: str) -> str:
        """Return the root tree of a commit. Raises `NotFound`."""
        try:
            return self._repo.get_git_commit(commit).tree.sha
        except UnknownObjectException as error:
            # A repository that is not there says the same; the branch is asked for first, and tells them apart.
            raise NotFound(f"GitHub has no commit {commit[:12]} in this repository: push it") from error

    def entry(self, tree: str, path: str) -> Entry | None:
        """Return what is at a path under a tree."""
        found: Entry | None = Entry("040000", _IS_TREE, tree)
        for name in path.split("/"):
            found = self._names(found.sha).get(name) if found is not None and found.type == _IS_TREE else None
        return found

    def with_entries(self, tree: str, entries: Mapping[str, Entry | None]) -> GitTree:
        """Make the tree that has these entries at these paths (None: nothing), and else what `tree` has."""
        made = self._grafted(tree, {tuple(path.split("/")): entry for path, entry in entries.items()})
        if made is None:
            raise Unsupported("a revert would leave the repository without a file")
        return made

    def differ(self, before: str, after: str, under: str) -> Iterator[str]:
        """Yield the files that read differently in two trees, under a path or everywhere."""
        whole = "040000"
        a = self.entry(before, under) if under else Entry(whole, _IS_TREE, before)
        b = self.entry(after, under) if under else Entry(whole, _IS_TREE, after)
        yield from self._differ(a, b, under)

    def _differ(self, a: Entry | None, b: Entry | None, at: str) -> Iterator[str]:
        if a == b:
            return
        if any(one is not None and one.type != _IS_TREE for one in (a, b)):
            yield at
        names_a = self._names(a.sha) if a is not None and a.type == _IS_TREE else {}
        names_b = self._names(b.sha) if b is not None and b.type == _IS_TREE else {}
        for name in names_a.keys() | names_b.keys():
            yield from self._differ(names_a.get(name), names_b.get(name), f"{at}/{name}" if at else name)

    def _names(self, tree: str) -> Names:
        if tree not in self._read:
            answer = self._repo.get_git_tree(tree)
            if answer.raw_data.get("truncated"):
                raise Unsupported(f"tree {tree[:12]} has more entries than GitHub lists: revert by hand")
            self._read[tree] = {one.path: Entry(one.mode, one.type, one.sha) for one in answer.tree}
        return self._read[tree]

    def _grafted(self, tree: str | None, entries: Mapping[Path, Entry | None]) -> GitTree | None:
        names = dict(self._names(tree)) if tree else {}
        below: dict[str, dict[Path, Entry | None]] = {}
        for (name, *rest), entry in entries.items():
            if rest:
                below.setdefault(name, {})[tuple(rest)] = entry
            else:
                _put(names, name, entry)
        for name, deeper in below.items():
            now = names.get(name)
            made = self._grafted(now.sha if now is not None and now.type == _IS_TREE else None, deeper)
            _put(names, name, Entry("040000", _IS_TREE, made.sha) if made is not None else None)
        if not names:
            return None  # Git has no empty folders
        return self._repo.create_git_tree(
            [InputGitTreeElement(name, one.mode, one.type, sha=one.sha) for name, one in sorted(names.items())]
        )


def _put(names: Names, name: str, entry: Entry | None) -> None:
    if entry is None:
        names.pop(name, None)
    else:
        names[name] = entry
