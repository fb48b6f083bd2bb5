"""Putting Git right after an abort: a port to wherever the repository's pull requests are opened."""

from __future__ import annotations

from typing import Protocol

import msgspec


class RevertWish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be undone, and why."""

    product: str
    commit: str
    """The commit that the aborted candidate was built from; it may have changed other things too."""
    good_commit: str
    """The commit that the stable release was built from: the product's files are to read as they did there."""
    paths: tuple[str, ...]
    """What belongs to the product in the repository: files and folders, relative to its root."""
    branch: str
    """The branch to open it from; the same wish always names the same one."""
    title: str
    body: str
    """Markdown: the evidence."""


class Reverted(msgspec.Struct, frozen=True, kw_only=True):
    """Where the revert is to be seen."""

    where: str
    """A pull request's address, or `branch @ commit` of a plain repository."""
    commit: str


class GitHost(Protocol):
    """Opens reverts.

    - The revert sets `paths` to their content at `good_commit` on top of the main branch's head, and nothing else; it
      never touches a working tree or the main branch itself.
    - `open_revert` may be repeated: the same wish finds what it opened before, and returns it.
    - Raises `Unavailable` when the host does not answer, `Conflict` when somebody has changed `paths` since `commit`
      (then a person has to look), `NotFound` when a commit is not there, `Misconfigured` when the host refuses us.
    """

    async def open_revert(self, wish: RevertWish) -> Reverted:
        """Open the revert, or return the one that is open."""
        ...
