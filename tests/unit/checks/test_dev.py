"""`dev` with everything that it calls replaced, so that nothing is downloaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

DEV = Path(__file__).resolve().parents[3] / "dev"
COREUTILS = ("sh", "dirname", "cat", "cmp", "head", "rm", "cp", "mkdir", "awk", "sed", "chmod")
UV = """\
echo "$*" >>"{log}"
[ "$1" = venv ] || exit 0
for folder; do :; done
mkdir -p "$folder/bin"
printf '#!/bin/sh\\necho "runs $*"\\necho "opa=$APX_OPA home=$APX_HOME" >&2\\n' >"$folder/bin/python"
chmod +x "$folder/bin/python"
cp "$folder/bin/python" "$folder/bin/apx"
"""
SYNC, INSTALL = "pip sync", "pip install"


class Checkout(msgspec.Struct):
    """A folder with `dev`, and a PATH that holds what the test says and nothing else."""

    root: Path
    path: Path

    def add(self, name: str, script: str) -> Path:
        program = self.path / name
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
        return program

    def dev(self, *arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "dev", *arguments],
            cwd=cwd or self.root,
            env={"PATH": str(self.path), **env},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def calls(self) -> list[str]:
        """Return what uv was asked since the last time."""
        log = self.path / "uv.log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [" ".join(line.split()[:2]) if line.startswith("pip") else line.split()[0] for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, path = tmp_path / "checkout", tmp_path / "bin"
    root.mkdir()
    path.mkdir()
    for name in COREUTILS:
        (path / name).symlink_to(shutil.which(name) or pytest.fail(f"{name} is not on PATH"))
    shutil.copy(DEV, root)
    for name in (*(path.name for path in DEV.parent.glob("requirements-*.lock")), "pyproject.toml"):
        (root / name).write_text("as it was\n")
    made = Checkout(root, path)
    made.add("python3.11", f'exec "{sys.executable}" "$@"')
    made.add("opa", "echo 'Version: 1.22.2'")
    made.add("uv", UV.format(log=path / "uv.log"))
    return made


def test_the_first_run_makes_the_environment_and_the_second_calls_nothing(checkout: Checkout) -> None:
    checkout.dev()
    assert checkout.calls() == ["venv", SYNC, INSTALL]
    checkout.dev()
    assert checkout.calls() == []


@pytest.mark.parametrize(
    ("file", "again"), [("requirements-dev.lock", [SYNC, INSTALL]), ("pyproject.toml", [INSTALL])], ids=str
)
def test_a_changed_file_is_installed_again(checkout: Checkout, file: str, again: list[str]) -> None:
    checkout.dev()
    checkout.calls()
    (checkout.root / file).write_text("changed\n")
    checkout.dev()
    assert checkout.calls() == again


def test_an_installation_that_failed_is_tried_again(checkout: Checkout) -> None:
    uv = (checkout.path / "uv").read_text()
    checkout.add("uv", "exit 3")
    assert checkout.dev().returncode == 3
    (checkout.path / "uv").write_text(uv)
    checkout.dev()
    assert checkout.calls() == ["venv", SYNC, INSTALL]


def test_a_copied_checkout_does_not_use_the_environment_of_the_one_it_came_from(checkout: Checkout) -> None:
    checkout.dev()
    checkout.calls()
    copy = checkout.root.with_name("copy")
    shutil.copytree(checkout.root, copy)
    Checkout(copy, checkout.path).dev()
    assert checkout.calls() == ["venv", SYNC, INSTALL]


def test_without_a_name_the_tasks_are_listed(checkout: Checkout) -> None:
    assert checkout.dev().stdout == "runs -m invoke --list\n"


def test_arguments_of_a_task_are_kept_from_invoke(checkout: Checkout) -> None:
    assert checkout.dev("test", "tests/unit", "-k", "x").stdout == "runs -m invoke test -- tests/unit -k x\n"


def test_the_cli_gets_its_arguments_untouched(checkout: Checkout) -> None:
    assert checkout.dev("apx", "status", "--json").stdout == "runs status --json\n"


def test_the_cli_keeps_its_data_in_the_checkout_wherever_it_is_called(checkout: Checkout, tmp_path: Path) -> None:
    assert f"home={checkout.root}/.apx\n" in checkout.dev("apx", cwd=tmp_path).stderr


def test_a_relative_home_is_relative_to_where_the_task_is_called(checkout: Checkout, tmp_path: Path) -> None:
    assert f"home={tmp_path}/mine\n" in checkout.dev("status", cwd=tmp_path, APX_HOME="mine").stderr


def test_without_a_recent_python_the_message_says_what_to_install(checkout: Checkout) -> None:
    checkout.add("python3.11", "exit 1")
    answer = checkout.dev()
    assert answer.returncode == 1
    assert "APX needs Python 3.11 or later" in answer.stderr


def test_a_python_without_venv_is_told_with_the_way_out(checkout: Checkout) -> None:
    (checkout.path / "uv").unlink()
    checkout.add("python3.11", '[ "$1" = -c ]')
    answer = checkout.dev()
    assert answer.returncode == 1
    assert "apt-get install python3-venv" in answer.stderr


@pytest.mark.parametrize("version", ["1.21.2", "0.70.0", "1.9.9", "nonsense"])
def test_an_old_opa_without_go_is_told_with_the_way_out(checkout: Checkout, version: str) -> None:
    checkout.add("opa", f"echo 'Version: {version}'")
    answer = checkout.dev("up")
    assert answer.returncode == 1
    assert "opa 1.21.3 or later is not on PATH" in answer.stderr


@pytest.mark.parametrize("version", ["1.21.3", "1.22.0", "1.100.0", "2.0.0"])
def test_a_recent_opa_on_path_is_taken(checkout: Checkout, version: str) -> None:
    checkout.add("opa", f"echo 'Version: {version}'")
    assert f"opa={checkout.path}/opa" in checkout.dev("up").stderr


def test_an_old_opa_that_was_named_is_refused(checkout: Checkout) -> None:
    named = checkout.add("my-opa", "echo 'Version: 1.0.0'")
    answer = checkout.dev("up", APX_OPA=str(named))
    assert answer.returncode == 1
    assert f"APX_OPA={named} is not opa 1.21.3 or later" in answer.stderr


def test_go_builds_opa_once_where_there_is_none(checkout: Checkout) -> None:
    (checkout.path / "opa").unlink()
    checkout.add(
        "go", 'mkdir -p "$GOBIN"; printf "#!/bin/sh\\necho Version: 1.22.2\\n" >"$GOBIN/opa"; chmod +x "$GOBIN/opa"'
    )
    first, second = checkout.dev("up"), checkout.dev("up")
    assert "building opa" in first.stderr
    assert "building opa" not in second.stderr
    assert f"opa={checkout.root}/.tools/opa" in second.stderr


def test_a_task_without_policies_does_not_ask_for_opa(checkout: Checkout) -> None:
    (checkout.path / "opa").unlink()
    assert checkout.dev("status").returncode == 0


def test_the_benchmarks_get_an_environment_of_their_own(checkout: Checkout) -> None:
    checkout.dev("bench")
    assert (checkout.root / ".venv-bench" / "bin" / "python").exists()
    assert checkout.calls() == ["venv", SYNC, INSTALL, *("venv", SYNC) * 2]


@pytest.mark.parametrize("name", ["synth", "deploy", "diff", "destroy"])
def test_what_works_on_the_stacks_gets_their_environment_and_its_arguments(checkout: Checkout, name: str) -> None:
    assert checkout.dev(name, "dev", "--check").stdout == f"runs -m invoke {name} -- dev --check\n"
    assert (checkout.root / ".venv-stacks" / "bin" / "python").exists()
