"""The way to an open pull request, one step after the other. Blocking; each step finds what is there already."""

from __future__ import annotations

import structlog
from github import GithubException, UnknownObjectException
from github.GitRef import GitRef
from github.PullRequest import PullRequest
from github.Repository import Repository

from apx.backends.github.trees import Entry, Trees
from apx.errors import Conflict, Unavailable
from apx.rollout.githost import Reverted, RevertWish, commit_message, has_to_change

LABEL = "apx-revert"
_REFUSED = (403, 404, 422)
_EXISTS = 422
_TRIES = 3

_log = structlog.get_logger(__name__)

Content = dict[str, Entry | None]
"""Path of the wish → what is there."""


class Pulls:
    """The branches and pull requests of one repository."""

    def __init__(self, repo: Repository, *, owner: str, main: str) -> None:
        self._repo = repo
        self._owner = owner
        self.main = main
        self.trees = Trees(repo)

    def head(self) -> str:
        """Return the main branch's head."""
        return self._repo.get_git_ref(f"heads/{self.main}").object.sha

    def branch(self, name: str) -> GitRef | None:
        """Return a branch, if it is there."""
        ref = self._repo.get_git_ref(f"heads/{name}")
        try:
            ref.complete()
        except UnknownObjectException:
            return None
        return ref

    def of(self, branch: str) -> PullRequest | None:
        """Return the pull request from a branch: the open one, else the newest."""
        found = list(
            self._repo.get_pulls(
                state="all", head=f"{self._owner}:{branch}", base=self.main, sort="created", direction="desc"
            )
        )
        return next((pull for pull in found if pull.state == "open"), found[0] if found else None)

    def content(self, commit: str, wish: RevertWish) -> Content:
        """Return what the product's paths are in a commit. Raises `NotFound`."""
        root = self.trees.of_commit(commit)
        return {path: self.trees.entry(root, path) for path in wish.paths}

    def parents(self, commit: str) -> list[str]:
        """Return what a commit came after."""
        return [parent.sha for parent in self._repo.get_git_commit(commit).parents]

    def commit(self, wish: RevertWish, head: str, good: Content) -> str:
        """Make the revert's commit on top of `head`; no branch has it yet."""
        parent = self._repo.get_git_commit(head)
        tree = self.trees.with_entries(parent.tree.sha, good)
        return self._repo.create_git_commit(commit_message(wish), tree, [parent]).sha

    def moved(self, name: str, was: GitRef | None, commit: str) -> bool:
        """Let a branch of ours be at a commit; False when somebody else made it meanwhile."""
        try:
            if was is None:
                self._repo.create_git_ref(f"refs/heads/{name}", commit)
            else:
                was.edit(commit, force=True)
        except GithubException as error:
            if was is None and error.status == _EXISTS and self.branch(name) is not None:
                return False
            raise
        return True

    def open(self, wish: RevertWish) -> PullRequest:
        """Open the pull request, or return the one that is there."""
        try:
            return self._repo.create_pull(self.main, wish.branch, title=wish.title, body=wish.body)
        except GithubException as error:
            there = self.of(wish.branch) if error.status == _EXISTS else None
            if there is None or there.state != "open":
                raise
            return there

    @staticmethod
    def label(pull: PullRequest) -> None:
        """Put our label on, where we may: the pull request counts, not how it is sorted."""
        if any(label.name == LABEL for label in pull.labels):
            return
        try:
            pull.add_to_labels(LABEL)
        except GithubException as error:
            if error.status not in _REFUSED or "retry-after" in (error.headers or {}):
                raise
            _log.warning("revert-not-labelled", where=pull.html_url, status=error.status)


def open_revert(pulls: Pulls, wish: RevertWish) -> Reverted:
    """Open the revert, or return the one that is open."""
    head = pulls.head()
    good, bad = pulls.content(wish.good_commit, wish), pulls.content(wish.commit, wish)
    pull = pulls.of(wish.branch)
    if pull is not None and (pull.state == "open" or pull.merged_at is None):
        return _reverted(pulls, pull)
    if not has_to_change(wish, good=good, bad=bad, main=pulls.content(head, wish)):
        return _reverted(pulls, pull) if pull else Reverted(where=f"{pulls.main} @ {head[:12]}", commit=head)
    _branch_off(pulls, wish, head, good)
    return _reverted(pulls, pulls.open(wish))


def _branch_off(pulls: Pulls, wish: RevertWish, head: str, good: Content) -> None:
    """Let the wish's branch hold the revert on top of `head`."""
    for _ in range(_TRIES):
        was = pulls.branch(wish.branch)
        if was is not None and pulls.content(was.object.sha, wish) != good:
            raise Conflict(f"branch {wish.branch} on GitHub holds something else: look at it, then delete it")
        if was is not None and pulls.parents(was.object.sha) == [head]:
            return  # made a moment ago, by another or before a fault
        if pulls.moved(wish.branch, was, pulls.commit(wish, head, good)):
            return
    raise Unavailable(f"others moved branch {wish.branch} on GitHub {_TRIES} times; try again")


def _reverted(pulls: Pulls, pull: PullRequest) -> Reverted:
    if pull.state == "open":
        pulls.label(pull)
    return Reverted(where=pull.html_url, commit=pull.head.sha)
