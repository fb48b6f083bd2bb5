"""Reverts as branches of a repository on this machine. The `GitHost` port.

Only plumbing, over an index of its own: a working tree, its index and HEAD are never looked at.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from apx.errors import Conflict, Misconfigured, NotFound, Unavailable
from apx.rollout.githost import (
    GitHost,
    Reverted,
    RevertWish,
    check_range,
    check_wish,
    commit_message,
    has_to_change,
)

_TRIES = 5
_MOST_SAID = 300
_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")
_OURS_TO_MEND = ("not a git repository", "dubious ownership", "ermission denied", "cannot change to", "cannot create")

Content = Mapping[bytes, bytes]
"""File → its mode and object id."""


class _Failed(Exception):
    """Git said no."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(said)
        self.code = code


class LocalGit(GitHost):
    """A repository, bare or not; with `merge` (bare only) the revert also becomes the main branch's head."""

    def __init__(
        self,
        repository: Path,
        *,
        main: str = "main",
        merge: bool = False,
        name: str = "APX",
        email: str = "apx@localhost",
        timeout_s: float = 20.0,
    ) -> None:
        """Commit as `name` and `email`; one call of git takes at most `timeout_s`."""
        self._repository = repository.absolute()
        self._main = main
        self._merge = merge
        self._timeout_s = timeout_s
        self._env = _environment(self._repository, name, email)

    async def open_revert(self, wish: RevertWish) -> Reverted:
        """Open the revert, or return the one that is open."""
        check_wish(wish, self._main)
        try:
            if self._merge and await self._git("rev-parse", "--is-bare-repository") != b"true\n":
                raise Misconfigured(
                    f"{self._repository} has a working tree, which merging would leave behind: unset APX_GIT_MERGE, "
                    "or give a bare repository"
                )
            for _ in range(_TRIES):
                reverted = await self._try(wish)
                if reverted is not None:
                    return reverted
        except _Failed as failed:
            raise self._explained(failed) from failed
        raise Unavailable(f"{self._repository}: others moved {self._main} or {wish.branch} {_TRIES} times; try again")

    async def changed(self, since: str, commit: str, under: str) -> tuple[str, ...]:
        """Return the files that read differently in two commits."""
        check_range(since, commit, under)
        try:
            trees = await self._commit(since), await self._commit(commit)
            paths = ("--", under) if under else ("--",)
            listed = await self._git("diff-tree", "-r", "-z", "--name-only", "--no-renames", *trees, *paths)
        except _Failed as failed:
            raise self._explained(failed) from failed
        return tuple(sorted(os.fsdecode(path) for path in listed.split(b"\0") if path))

    async def _try(self, wish: RevertWish) -> Reverted | None:
        """Open the revert; None when somebody else moved a branch meanwhile."""
        good, bad = await self._read(wish.good_commit, wish), await self._read(wish.commit, wish)
        head, tip = await self._tip(self._main), await self._tip(wish.branch)
        if head is None:
            raise Misconfigured(
                f"{self._repository} has no branch {self._main}: set APX_GIT_MAIN to the one that serves"
            )
        if tip is not None and await self._read(tip, wish) != good:
            raise Conflict(f"{self._repository}: branch {wish.branch} holds something else: look at it, then delete it")
        merged = tip is not None and await self._is_in(tip, head)
        if tip is not None and not merged and not self._merge:
            return _reverted(wish.branch, tip)
        if not has_to_change(wish, good=good, bad=bad, main=await self._read(head, wish)):
            return _reverted(wish.branch, tip) if tip is not None else _reverted(self._main, head)
        commit = await self._committed(wish, head, good)
        if not await self._moved(wish.branch, commit, tip) or (
            self._merge and not await self._moved(self._main, commit, head)
        ):
            return None
        return _reverted(wish.branch, commit)

    async def _commit(self, commit: str) -> str:
        try:
            return await self._line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
        except _Failed as failed:
            if _ours_to_mend(failed):
                raise
            raise NotFound(
                f"{self._repository} has no commit {commit[:12]}: fetch it, or give the repository it was built from"
            ) from failed

    async def _tip(self, branch: str) -> str | None:
        try:
            return await self._line(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/heads/{branch}^{{commit}}"
            )
        except _Failed as failed:
            if failed.code == 1:
                return None
            raise

    async def _read(self, commit: str, wish: RevertWish) -> Content:
        known = await self._commit(commit)
        listed = await self._git("ls-tree", "-r", "-z", "--full-tree", known, "--", *wish.paths)
        return {path: entry for entry, path in (line.split(b"\t", 1) for line in listed.split(b"\0") if line)}

    async def _is_in(self, commit: str, head: str) -> bool:
        try:
            await self._git("merge-base", "--is-ancestor", commit, head)
        except _Failed as failed:
            if failed.code == 1:
                return False
            raise
        return True

    async def _committed(self, wish: RevertWish, head: str, good: Content) -> str:
        """Make the commit on top of `head`, in an index of its own."""
        now = await self._read(head, wish)
        gone = [b"0 %s\t%s" % (b"0" * len(head), path) for path in now]
        added = [b"%s\t%s" % (entry, path) for path, entry in good.items()]
        with tempfile.TemporaryDirectory(prefix="apx-git-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            await self._git("read-tree", head, env=index)
            lines = b"".join(line + b"\0" for line in (*gone, *added))
            await self._git("update-index", "-z", "--index-info", stdin=lines, env=index)
            tree = await self._line("write-tree", env=index)
        return await self._line("commit-tree", "-p", head, "-F", "-", tree, stdin=commit_message(wish).encode())

    async def _moved(self, branch: str, commit: str, old: str | None) -> bool:
        """Move a branch from `old` to a commit; False when it is somewhere else by now."""
        try:
            await self._git("update-ref", "--no-deref", "--", f"refs/heads/{branch}", commit, old or "")
        except _Failed:
            if await self._tip(branch) == old:
                raise
            return False
        return True

    def _explained(self, failed: _Failed) -> Misconfigured | Unavailable:
        said = f"git on {self._repository}: {failed}"
        if _ours_to_mend(failed):
            return Misconfigured(f"{said}; APX_GIT_REPOSITORY names the repository, which has to be ours to write")
        return Unavailable(said)

    async def _line(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        return (await self._git(*arguments, stdin=stdin, env=env)).decode().strip()

    async def _git(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                *("git", "-C", str(self._repository), *_OPTIONS, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**self._env, **(env or {})},
            )
        except FileNotFoundError as error:
            raise Misconfigured("git is not on PATH: install it, or unset APX_GIT_REPOSITORY") from error
        try:
            async with asyncio.timeout(self._timeout_s):
                out, said = await process.communicate(stdin)
        except TimeoutError as error:
            raise Unavailable(f"git {arguments[0]} on {self._repository} took over {self._timeout_s:g} s") from error
        finally:
            await _end(process)
        if process.returncode:
            text = " ".join(said.decode(errors="replace").split())[:_MOST_SAID]
            raise _Failed(process.returncode, text or f"git {arguments[0]} failed")
        return out


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _environment(repository: Path, name: str, email: str) -> dict[str, str]:
    """Return all that git is to know: nothing of ours, of the user's or of the machine's settings."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CEILING_DIRECTORIES": str(repository.parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        **{f"GIT_{who}_NAME": name for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": email for who in ("AUTHOR", "COMMITTER")},
    }


def _ours_to_mend(failed: _Failed) -> bool:
    return any(words in str(failed) for words in _OURS_TO_MEND)


def _reverted(branch: str, commit: str) -> Reverted:
    return Reverted(where=f"{branch} @ {commit[:12]}", commit=commit)
