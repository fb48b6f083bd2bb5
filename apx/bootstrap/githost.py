"""Which repository reverts are opened in."""

from __future__ import annotations

import re
from pathlib import Path

from apx.backends.git.githost import LocalGit
from apx.clock import SystemClock
from apx.errors import Misconfigured
from apx.rollout.githost import GitHost
from apx.settings import GitSettings


def git_host(settings: GitSettings) -> GitHost | None:
    """Return where reverts are opened; None when no repository is named. Raises `Misconfigured`."""
    if settings.git_repository and settings.github_repository:
        raise Misconfigured(
            "APX_GIT_REPOSITORY and APX_GITHUB_REPOSITORY are both set: reverts are opened in one place"
        )
    if settings.git_repository:
        return LocalGit(
            Path(settings.git_repository),
            main=settings.git_main,
            merge=settings.git_merge,
            name=settings.git_name,
            email=settings.git_email,
        )
    return _github(settings) if settings.github_repository else None


def _github(settings: GitSettings) -> GitHost:
    name = settings.github_repository
    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", name):
        raise Misconfigured(f"APX_GITHUB_REPOSITORY={name!r}: give owner/name")
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost)[:/]", settings.github_url):
        raise Misconfigured(
            f"APX_GITHUB_URL={settings.github_url!r}: the token is sent there, so it has to be https://"
        )
    if settings.git_merge:
        raise Misconfigured("APX_GIT_MERGE is for a bare repository on this machine: on GitHub people merge")
    path = Path(settings.github_token_file)
    if not settings.github_token_file:
        raise Misconfigured("APX_GITHUB_TOKEN_FILE is not set: name the file that holds the token")
    from apx.backends.github.githost import GitHub  # noqa: PLC0415 -- 0.1 s and 33 MB that only this needs

    return GitHub(name, lambda: _token(path), clock=SystemClock(), url=settings.github_url, main=settings.git_main)


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise Misconfigured(f"APX_GITHUB_TOKEN_FILE={str(path)!r} cannot be read: {type(error).__name__}") from None
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise Misconfigured(f"APX_GITHUB_TOKEN_FILE={str(path)!r} has to hold one token and nothing else")
    return token
