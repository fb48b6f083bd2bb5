"""Putting Git right after an abort: a port to wherever the repository's pull requests are opened."""

from __future__ import annotations

import re
from typing import Protocol, TypeVar

import msgspec

from apx.errors import Conflict, Unsupported

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = re.compile(r"apx/[a-z0-9][a-z0-9-]{0,120}")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")

Content = TypeVar("Content")


class RevertWish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be undone, and why."""

    product: str
    commit: str
    """The commit that the aborted candidate was built from, in full; it may have changed other things too."""
    good_commit: str
    """The commit that the stable release was built from: the product's files are to read as they did there."""
    paths: tuple[str, ...]
    """What belongs to the product in the repository: files and folders, relative to its root."""
    branch: str
    """The branch to open it from, under `apx/`; the same wish always names the same one."""
    title: str
    """One line of our own words."""
    body: str
    """Markdown: the evidence. Only for people who read it there; commit messages do not hold it."""


class Reverted(msgspec.Struct, frozen=True, kw_only=True):
    """Where the revert is to be seen."""

    where: str
    """A pull request's address, or `branch @ commit` of a plain repository."""
    commit: str
    """The commit in which the product's files read as they did."""


class GitHost(Protocol):
    """Opens reverts.

    - The revert sets `paths` to their content at `good_commit` on top of the main branch's head, and nothing else; it
      never touches a working tree, nor the main branch unless the host was set up to merge by itself.
    - `open_revert` may be repeated: the same wish finds what it opened before, and returns it; also after a fault in
      the midst of it, and when two ask at once. What a person has closed stays closed.
    - Where the main branch reads as at `good_commit` already, nothing is opened, and its head is returned.
    - Raises `Unavailable` when the host does not answer or asks for patience (`retry_after_s` says how long);
      `Conflict` when somebody has changed `paths` since `commit`, or the branch holds something else (then a person has
      to look); `NotFound` when a commit is not there; `Misconfigured` when the host refuses us; `Unsupported` when
      `paths` read the same in both commits, so that the cause lies elsewhere, and for names that are no commit, branch
      or path.
    """

    async def open_revert(self, wish: RevertWish) -> Reverted:
        """Open the revert, or return the one that is open."""
        ...

    async def changed(self, since: str, commit: str, under: str) -> tuple[str, ...]:
        """Return the files that read differently in two commits, relative to the root, sorted.

        Only those under a folder, where one is named. Raises as `open_revert` does.
        """
        ...


def check_wish(wish: RevertWish, main: str) -> None:
    """Raise `Unsupported` unless each name of the wish can be nothing but a commit, a branch or a path."""
    check_commit(wish.commit)
    check_commit(wish.good_commit)
    if not _BRANCH.fullmatch(wish.branch) or wish.branch == main:
        raise Unsupported(f"{wish.branch[:80]!r} is no branch for a revert: they are named apx/<name>")
    for path in wish.paths:
        check_path(path)
    nested = [a for a in wish.paths for b in wish.paths if a.startswith(f"{b}/")]
    if not wish.paths or nested or len(set(wish.paths)) < len(wish.paths):
        raise Unsupported(f"{wish.product}: a revert needs paths that do not lie in one another, not {wish.paths}")


def check_range(since: str, commit: str, under: str) -> None:
    """Raise `Unsupported` unless these are two commits, and a path or nothing."""
    check_commit(since)
    check_commit(commit)
    if under:
        check_path(under)


def check_commit(commit: str) -> None:
    """Raise `Unsupported` for what is not a full commit id."""
    if not _COMMIT.fullmatch(commit):
        raise Unsupported(f"{commit[:80]!r} is not a commit: it takes all 40 (or 64) hex digits")


def check_path(path: str) -> None:
    """Raise `Unsupported` for a path that is not plain and relative: `gitops/products/orders`."""
    if not _PATH.fullmatch(path):
        raise Unsupported(f"{path[:80]!r} is not a path in the repository: give it relative to its root, plainly")


def has_to_change(wish: RevertWish, *, good: Content, bad: Content, main: Content) -> bool:
    """Tell whether the main branch still reads as the bad commit does. Raises `Conflict` and `Unsupported`.

    Each `Content` is what a host knows the product's files by: their digests, or the files themselves.
    """
    if good == bad:
        raise Unsupported(
            f"{wish.product}: its files are the same in {wish.good_commit[:12]} and {wish.commit[:12]}; "
            "what made the difference is shared (a plan, a policy library): correct it there"
        )
    if main == good:
        return False
    if main != bad:
        raise Conflict(
            f"{wish.product}: {', '.join(wish.paths)} changed on the main branch after {wish.commit[:12]}; "
            f"look at what came since, and restore {wish.good_commit[:12]} by hand where it still is right"
        )
    return True


def commit_message(wish: RevertWish) -> str:
    """Return the message of the revert's commit: nothing that others wrote, for hosts act on words in messages."""
    return (
        f"{wish.title}\n\nThe release of {wish.commit[:12]} was aborted. These read again as in "
        f"{wish.good_commit[:12]}:\n\n" + "\n".join(f"    {path}" for path in wish.paths) + "\n"
    )
