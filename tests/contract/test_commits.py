"""A folder as it was at a commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from apx.backends.git.commits import Commits
from apx.errors import InvalidCatalog


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a repository with a folder `gitops`, committed once."""
    folder = tmp_path / "repository" / "gitops"
    (folder / "plans").mkdir(parents=True)
    (folder / "plans" / "free.yaml").write_text("one\n")
    git(folder.parent, "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *settings, *words], cwd=folder, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "one")
    return git(folder, "rev-parse", "HEAD")


def test_a_commit_is_found_by_every_name_of_it(tree: Path) -> None:
    head = git(tree, "rev-parse", "HEAD")
    git(tree, "tag", "--annotate", "--message", "one", "v1")
    assert [Commits(tree).resolve(name) for name in ("main", "HEAD", head[:8], "v1")] == [head] * 4


@pytest.mark.parametrize("name", ["", "none", "--all", "-h", "main:gitops", "a\0b", "HEAD~7"])
def test_what_is_no_commit_is_none(tree: Path, name: str) -> None:
    assert Commits(tree).resolve(name) is None


def test_outside_of_a_repository_there_is_none(tmp_path: Path) -> None:
    assert Commits(tmp_path).resolve("main") is None
    assert Commits(tmp_path / "none").resolve("main") is None


def test_the_folder_is_written_as_it_was(tree: Path, tmp_path: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    (tree / "plans" / "free.yaml").write_text("two\n")
    (tree / "b\tc é.txt").write_bytes(b"\0\n\xff")
    second = commit(tree)
    (tree / "plans" / "free.yaml").write_text("three\n")
    for id_, name in ((first, "first"), (second, "second")):
        Commits(tree).lay_out(id_, tmp_path / name)
    assert (tmp_path / "first" / "plans" / "free.yaml").read_text() == "one\n"
    assert (tmp_path / "second" / "plans" / "free.yaml").read_text() == "two\n"
    assert (tmp_path / "second" / "b\tc é.txt").read_bytes() == b"\0\n\xff"
    assert git(tree, "status", "--porcelain") == "M gitops/plans/free.yaml"


def test_attributes_leave_nothing_out(tree: Path, tmp_path: Path) -> None:
    (tree / ".gitattributes").write_text("plans export-ignore\n*.yaml export-subst\n")
    (tree / "plans" / "free.yaml").write_text("$Format:%H$\n")
    Commits(tree).lay_out(commit(tree), tmp_path / "out")
    assert (tmp_path / "out" / "plans" / "free.yaml").read_text() == "$Format:%H$\n"


def test_a_link_stays_a_link(tree: Path, tmp_path: Path) -> None:
    (tree / "plans" / "out.yaml").symlink_to("/etc/hostname")
    Commits(tree).lay_out(commit(tree), tmp_path / "out")
    assert (tmp_path / "out" / "plans" / "out.yaml").is_symlink()


def test_a_commit_without_the_folder_says_so(tree: Path, tmp_path: Path) -> None:
    git(tree, "mv", "plans", "../plans")
    without = commit(tree)
    tree.mkdir(exist_ok=True)
    with pytest.raises(InvalidCatalog, match="has no files in"):
        Commits(tree).lay_out(without, tmp_path / "out")
