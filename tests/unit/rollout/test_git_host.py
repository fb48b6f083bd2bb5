from __future__ import annotations

from pathlib import Path

import pytest

from apx.backends.git.githost import LocalGit
from apx.backends.github.githost import GitHub
from apx.bootstrap import git_host
from apx.errors import Misconfigured
from apx.rollout.githost import RevertWish
from apx.settings import GitSettings

WISH = RevertWish(
    product="orders",
    commit="a" * 40,
    good_commit="b" * 40,
    paths=("gitops/products/orders",),
    branch="apx/revert-orders-0123456789ab",
    title="Revert orders",
    body="",
)


def github(**changed: str) -> GitSettings:
    return GitSettings.model_validate(
        {"github_repository": "example/products", "github_token_file": "token", **changed}
    )


def test_without_settings_no_reverts_are_opened() -> None:
    assert git_host(GitSettings()) is None


def test_a_repository_on_this_machine_is_one() -> None:
    assert isinstance(git_host(GitSettings(git_repository="somewhere")), LocalGit)


def test_a_repository_on_github_is_one() -> None:
    assert isinstance(git_host(github()), GitHub)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"git_repository": "here"}, "both set"),
        ({"github_repository": "products"}, "owner/name"),
        ({"github_repository": "../x/y"}, "owner/name"),
        ({"github_url": "http://github.example"}, "https"),
        ({"github_url": "http://127.0.0.1.example/"}, "https"),
        ({"github_token_file": ""}, "APX_GITHUB_TOKEN_FILE is not set"),
        ({"git_merge": "true"}, "APX_GIT_MERGE"),
    ],
)
def test_a_wrong_setting_says_which(changed: dict[str, str], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        git_host(github(**changed))


@pytest.mark.parametrize("content", ["", "two words", "two\nlines", "\x00"])
async def test_a_file_that_holds_no_token_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    host = git_host(github(github_token_file=str(file), github_url="http://127.0.0.1:1"))
    assert host is not None
    with pytest.raises(Misconfigured, match="APX_GITHUB_TOKEN_FILE"):
        await host.open_revert(WISH)


async def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    host = git_host(github(github_token_file=str(tmp_path / "nothing"), github_url="http://127.0.0.1:1"))
    assert host is not None
    with pytest.raises(Misconfigured, match="APX_GITHUB_TOKEN_FILE"):
        await host.open_revert(WISH)
