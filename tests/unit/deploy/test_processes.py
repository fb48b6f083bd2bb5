"""Real processes: a small Terraform on PATH, and a Ctrl-C that reaches it once."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from stacks.deploy.commands import INTERRUPTED, NOT_THERE, Processes
from stacks.deploy.order import Stack, read_stacks, waves
from stacks.deploy.terraform import LOCAL_LOCK, Failed, Terraform
from tests.unit.deploy.recorded import plan_of

DEADLINE_S = 30
TERRAFORM = """#!/bin/sh
# What Terraform does when it is asked and interrupted, as far as a deployment can tell.
echo "$1 $*" >>"$FAKE/calls"
case $1 in
  plan) exit 2 ;;
  show) cat "$FAKE/plan.json" ;;
  apply)
    trap 'echo interrupt >>"$FAKE/interrupts"' INT
    : >"$FAKE/applying"
    while [ -e "$FAKE/slow" ] && ! [ -e "$FAKE/interrupts" ]; do sleep 0.05; done
    if [ -e "$FAKE/interrupts" ]; then
      while ! [ -e "$FAKE/may-end" ]; do sleep 0.05; done
      echo 'Error: execution halted' >&2
      exit 1
    fi
    echo 'Apply complete! Resources: 1 added'
    ;;
esac
"""
DRIVER = """
import sys
from pathlib import Path
from stacks.deploy.approval import Approval
from stacks.deploy.commands import Processes, interrupts_passed_on
from stacks.deploy.order import read_stacks, waves
from stacks.deploy.run import Run
from stacks.deploy.terraform import Terraform
from tests.unit.deploy.recorded import Typist

out, plans = Path(sys.argv[1]), Path(sys.argv[2])
processes, person = Processes(), Typist(*["yes"] * 9)
terraform = Terraform(processes, plans, cache=plans / "cache")
run = Run(terraform=terraform, person=person, approval=Approval(environment="dev"), gate=lambda _: None,
          locks=lambda _: ())
with interrupts_passed_on(processes):
    done = run.go(waves(read_stacks(out, "dev")))
print(person.read)
sys.exit(0 if done else 1)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a Terraform that is on PATH."""
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "terraform").write_text(TERRAFORM)
    (folder / "terraform").chmod(0o755)
    (folder / "plan.json").write_bytes(plan_of({"google_x.a": ("create",)}).stdout)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(folder))
    return folder


def driven(out: Path, tmp_path: Path) -> subprocess.Popen[str]:
    plans = tmp_path / "plans"
    plans.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(out), str(plans)],
        cwd=Path(__file__).resolve().parents[3],
        start_new_session=True,  # its group is what a terminal would send Ctrl-C to
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.02)


def test_a_deployment_runs_terraform_from_init_to_apply(fake: Path, out: Path, tmp_path: Path) -> None:
    process = driven(out, tmp_path)
    said, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said
    assert "dev-edge | Apply complete! Resources: 1 added" in said
    calls = [line.split()[0] for line in (fake / "calls").read_text().splitlines()]
    assert [calls.count(name) for name in ("init", "plan", "show", "apply")] == [6, 6, 6, 6]


def test_an_impatient_interrupt_reaches_terraform_once_and_is_waited_for(fake: Path, out: Path, tmp_path: Path) -> None:
    (out / "manifest.json").write_bytes(msgspec.json.encode({"stacks": _only("dev-identity", "dev-network", out)}))
    (fake / "slow").touch()
    process = driven(out, tmp_path)
    wait_for(fake / "applying")
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        wait_for(fake / "interrupts")
    assert process.poll() is None  # it waits, whatever it takes
    (fake / "may-end").touch()
    said, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert (fake / "interrupts").read_text() == "interrupt\n"
    assert "passed the interrupt on; waiting until it has ended well" in said
    assert "failed: dev-identity\nnot reached: dev-network" in said


def test_after_an_interrupt_nothing_new_is_started() -> None:
    processes = Processes(io.StringIO())
    assert not processes.interrupt()
    assert processes.run(("true",)).code == INTERRUPTED


def test_a_program_that_is_not_there_is_an_answer() -> None:
    done = Processes().run(("no-such-program",))
    assert (done.code, done.stderr) == (NOT_THERE, "no-such-program: No such file or directory")


def test_a_secret_goes_to_standard_input_and_is_shown_nowhere() -> None:
    shown = io.StringIO()
    done = Processes(shown).run(("sh", "-c", "wc -c; echo done >&2"), secret=b"\x00canary", shown_as="sh")
    assert done.text == "7"
    assert done.stderr == "done\n"
    assert "canary" not in shown.getvalue()


def test_a_program_that_reads_no_secret_does_not_hang() -> None:
    assert Processes().run(("true",), secret=b"x" * 1_000_000).ok


def test_a_program_that_asks_gets_no_answer() -> None:
    assert Processes().run(("sh", "-c", "read answer")).code == 1


def test_providers_are_those_of_the_lock_file_and_no_others(fake: Path, stacks: list[Stack], tmp_path: Path) -> None:
    lock = tmp_path / "terraform.lock.hcl"
    blocks = {
        name: f'provider "registry.terraform.io/hashicorp/{name}" {{\n  version = "1"\n}}\n' for name in ("a", "b")
    }
    lock.write_text("# by terraform\n\n" + "\n".join(blocks.values()))
    (stack,) = (one for one in stacks if one.short == "network")
    (stack.folder / "cdk.tf.json").write_bytes(msgspec.json.encode({"terraform": {"required_providers": {"b": {}}}}))
    Terraform(Processes(), tmp_path, lock_file=lock, cache=tmp_path / "cache").initialise(stack)
    assert (stack.folder / LOCAL_LOCK).read_text() == blocks["b"]
    assert "-lockfile=readonly" in (fake / "calls").read_text()


def test_a_terraform_that_says_nothing_is_told_by_its_exit_code(
    fake: Path, stacks: list[Stack], tmp_path: Path
) -> None:
    (fake / "terraform").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(Failed, match="terraform ended with 3 and said nothing"):
        Terraform(Processes(), tmp_path, cache=tmp_path / "cache").initialise(stacks[0])


def _only(first: str, second: str, out: Path) -> dict[str, object]:
    """Return a manifest of two of the stacks, the second on the first."""
    folders = {stack.name: f"stacks/{stack.name}" for wave in waves(read_stacks(out, "dev")) for stack in wave}
    return {
        first: {"workingDirectory": folders[first], "dependencies": []},
        second: {"workingDirectory": folders[second], "dependencies": [first]},
    }
