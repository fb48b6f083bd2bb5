"""Reverts as pull requests on GitHub, by its REST API. The `GitHost` port.

Nothing is tried again in here, for a thread that waits cannot be stopped: `open_revert` as a whole may be repeated, and
whoever calls knows for how long. Objects are made before the branch that needs them, and the branch before the pull
request, so that a repetition finds what there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from github import Auth, BadAttributeException, Github, GithubException, RateLimitExceededException

from apx.backends.github.pulls import Pulls, open_revert
from apx.clock import Clock
from apx.errors import Misconfigured, NotFound, Unavailable
from apx.rollout.githost import GitHost, Reverted, RevertWish, check_range, check_wish

PUBLIC_URL = "https://api.github.com"
_MOST_SAID = 300
_LONGEST_WAIT_S = 3600
_SECONDARY_WAIT_S = 60
"""What GitHub asks for where it names no time."""

T = TypeVar("T")


class GitHub(GitHost):
    """One repository on GitHub, or on a server that speaks its API."""

    def __init__(
        self,
        repository: str,
        token: Callable[[], str],
        *,
        clock: Clock,
        url: str = PUBLIC_URL,
        main: str = "main",
        timeout_s: int = 10,
        total_s: float = 120.0,
        pace_s: float = 0.25,
    ) -> None:
        """`token` is read anew for each revert, as it may be replaced.

        One request takes at most `timeout_s`, a revert `total_s`; requests are at least `pace_s` apart, as GitHub asks.
        """
        self._repository = repository
        self._token = token
        self._clock = clock
        self._url = url
        self._main = main
        self._timeout_s = timeout_s
        self._total_s = total_s
        self._pace_s = pace_s

    async def open_revert(self, wish: RevertWish) -> Reverted:
        """Open the revert, or return the one that is open."""
        check_wish(wish, self._main)
        return await self._asked(lambda client: open_revert(self._pulls(client), wish))

    async def changed(self, since: str, commit: str, under: str) -> tuple[str, ...]:
        """Return the files that read differently in two commits."""
        check_range(since, commit, under)

        def differ(client: Github) -> tuple[str, ...]:
            pulls = self._pulls(client)
            pulls.head()  # tells a repository that is not there from a commit that is not
            trees = pulls.trees
            return tuple(sorted(trees.differ(trees.of_commit(since), trees.of_commit(commit), under)))

        return await self._asked(differ)

    def _pulls(self, client: Github) -> Pulls:
        return Pulls(client.get_repo(self._repository), owner=self._repository.split("/")[0], main=self._main)

    async def _asked(self, ask: Callable[[Github], T]) -> T:
        token = self._token()
        try:
            async with asyncio.timeout(self._total_s):
                return await asyncio.to_thread(self._with_client, ask, token)
        except TimeoutError as error:
            raise Unavailable(f"{self._where} took over {self._total_s:g} s") from error

    def _with_client(self, ask: Callable[[Github], T], token: str) -> T:
        try:
            with Github(
                auth=Auth.Token(token),
                base_url=self._url,
                timeout=self._timeout_s,
                retry=None,
                seconds_between_requests=self._pace_s,
                seconds_between_writes=self._pace_s * 4,
                lazy=True,
            ) as client:
                return ask(client)
        except GithubException as error:
            # Not chained: what the library keeps of an answer, and of the request, is not for a log.
            raise self._explained(error, token) from None
        except OSError as error:  # what requests raises is one
            said = _said(str(error), token)
            raise Unavailable(f"{self._where} does not answer: {said}") from None
        except _NOT_GITHUBS as error:
            # An answer that is not GitHub's: a proxy's page, another server behind the address.
            said = _said(f"{type(error).__name__} {error}", token)
            raise Unavailable(f"{self._where} answers in a way that cannot be read: {said}") from None

    @property
    def _where(self) -> str:
        return f"GitHub ({self._repository} at {self._url})"

    def _explained(self, error: GithubException, token: str) -> Misconfigured | NotFound | Unavailable:
        said = _said(f"{error.status} {error.message or ''} {_details(error)}", token)
        wait_s = self._asked_to_wait_s(error)
        if wait_s is not None or error.status >= 500 or error.status in (408, 409):  # noqa: PLR2004 -- HTTP's
            unavailable = Unavailable(f"{self._where} cannot now: {said}")
            unavailable.retry_after_s = wait_s if wait_s is not None else unavailable.retry_after_s
            return unavailable
        return Misconfigured(f"{self._where} refuses: {said}; {_WAY_OUT.get(error.status, _LOOK)}")

    def _asked_to_wait_s(self, error: GithubException) -> int | None:
        """Return for how long GitHub asks us to leave it alone; None when this is no such answer."""
        headers = error.headers or {}
        limited = isinstance(error, RateLimitExceededException)
        spent = headers.get("x-ratelimit-remaining") == "0" and error.status in (403, 429)
        if not (limited or spent or error.status == 429 or "retry-after" in headers):  # noqa: PLR2004 -- HTTP's
            return None
        wait = headers.get("retry-after", "")
        if wait.isdecimal():
            return min(int(wait), _LONGEST_WAIT_S)
        reset = headers.get("x-ratelimit-reset", "")
        if reset.isdecimal() and spent:
            return max(1, min(int(reset) - int(self._clock.time()) + 1, _LONGEST_WAIT_S))
        return _SECONDARY_WAIT_S


_WAY_OUT = {
    401: "the token is wrong or has expired: put a valid one into APX_GITHUB_TOKEN_FILE",
    403: "the token needs `contents: write` and `pull requests: write` on this repository",
    404: "APX_GITHUB_REPOSITORY (owner/name) or APX_GIT_MAIN is not there, or the token may not see or change it",
}
_NOT_GITHUBS = (BadAttributeException, ValueError, TypeError, KeyError, AttributeError, AssertionError, RuntimeError)
_LOOK = "this is not expected: look at the repository's rules for branches and pull requests"


def _details(error: GithubException) -> str:
    """Return what a 422 says of each field."""
    found = error.data.get("errors") if isinstance(error.data, dict) else None
    return "; ".join(str(one.get("message", "")) for one in found if isinstance(one, dict)) if found else ""


def _said(text: str, token: str) -> str:
    line = " ".join(text.split())
    return (line.replace(token, "***") if token else line)[:_MOST_SAID]
