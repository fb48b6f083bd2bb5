from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from apx.local.leftovers import leftovers
from tests.unit.local.until import until

UP = Path(__file__).with_name("up.py")


class Shell:
    """Runs the commands as a person would."""

    def __init__(self, home: Path) -> None:
        ports = {f"APX_{name}_PORT": "auto" for name in ("EDGE", "CONTROL", "ROUTER", "WORKER", "DEMO")}
        self.home = home
        self.environment = {**os.environ, **ports, "APX_HOME": str(home)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(UP), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def attached(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(UP), "up"]
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout
        for line in process.stdout:
            if "stops it" in line:
                break
        return process


@pytest.fixture
def shell(home: Path) -> Shell:
    return Shell(home)


@pytest.fixture
def attached(shell: Shell) -> Iterator[subprocess.Popen[str]]:
    process = shell.attached()
    yield process
    process.kill()
    process.communicate()


def test_up_detached_prints_one_json_object_and_leaves_it_running(shell: Shell) -> None:
    answer = shell.run("up", "--detach", "--json")
    assert answer.returncode == 0
    told = json.loads(answer.stdout)
    assert told["keys"] == {"acme": "apx_demo"}
    assert told["admin_token"] == "admin"
    assert set(told["example"]) == {"method", "path", "body"}
    with urllib.request.urlopen(f"{told['edge']}/healthz", timeout=5) as response:  # noqa: S310 -- our own process
        assert response.status == 200


def test_progress_goes_to_stderr_as_plain_lines(shell: Shell) -> None:
    lines = shell.run("up", "--detach", "--json").stderr.splitlines()
    assert [re.sub(r"\(.*\)", "(s)", line) for line in lines] == ["store is ready (s)", "seeded", "edge is ready (s)"]


def test_a_second_up_says_that_one_runs(shell: Shell) -> None:
    shell.run("up", "--detach")
    again = shell.run("up", "--detach")
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "already runs" in again.stderr
    assert shell.run("status").returncode == 0


def test_up_ends_with_the_addresses_a_key_and_a_command_to_paste(shell: Shell) -> None:
    text = shell.run("up", "--detach").stdout
    assert re.search(r"edge +http://127\.0\.0\.1:\d+", text)
    assert re.search(r"curl -i -X POST http://127\.0\.0\.1:\d+/\S+ -H 'Authorization: Bearer apx_demo'", text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_attached_up_stops_everything_when_it_is_asked_to(
    shell: Shell, attached: subprocess.Popen[str], number: int
) -> None:
    began = time.monotonic()
    attached.send_signal(number)
    assert attached.wait(timeout=30) == 0
    assert time.monotonic() - began < 30
    assert not leftovers(shell.home)


def test_an_attached_up_ends_when_the_platform_is_stopped_elsewhere(
    shell: Shell, attached: subprocess.Popen[str]
) -> None:
    assert shell.run("down").returncode == 0
    assert attached.wait(timeout=30) == 0


def test_an_attached_up_whose_supervisor_dies_leaves_nothing(shell: Shell, attached: subprocess.Popen[str]) -> None:
    psutil.Process(int((shell.home / "run" / "supervisord.pid").read_text())).kill()
    assert attached.wait(timeout=30) == 1
    assert not leftovers(shell.home)


def test_an_attached_up_reports_what_died(shell: Shell, attached: subprocess.Popen[str]) -> None:
    os.kill(json.loads(shell.run("status", "--json").stdout)[1]["pid"], signal.SIGKILL)
    assert attached.stderr
    assert any("edge died and was started again" in line for line in attached.stderr)


def test_down_says_whether_there_was_something_to_stop(shell: Shell) -> None:
    shell.run("up", "--detach")
    first, second = shell.run("down"), shell.run("down")
    assert first.stderr.startswith("Stopped")
    assert second.stderr.startswith("Nothing runs")
    assert first.returncode == second.returncode == 0


def test_status_is_a_table_and_its_exit_code(shell: Shell) -> None:
    assert shell.run("status").returncode == 1
    shell.run("up", "--detach")
    up = shell.run("status")
    assert up.returncode == 0
    assert [line.split()[:2] for line in up.stdout.splitlines()] == [
        ["process", "state"],
        ["store", "running"],
        ["edge", "running"],
    ]


def test_logs_show_one_process_or_all_with_their_names(shell: Shell) -> None:
    shell.run("up", "--detach")
    until(lambda: "hello" in shell.run("logs", "edge").stdout, within_s=10)
    assert re.search(r"^edge +\| hello$", shell.run("logs").stdout, re.MULTILINE)


def test_logs_of_an_unknown_process_name_the_known_ones(shell: Shell) -> None:
    shell.run("up", "--detach")
    answer = shell.run("logs", "envoy")
    assert answer.returncode == 1
    assert "edge, store" in answer.stderr


def test_a_wrong_setting_is_one_readable_message(shell: Shell) -> None:
    shell.environment["APX_EDGE_PORT"] = "http"
    answer = shell.run("up")
    assert answer.returncode == 1
    assert answer.stderr.startswith("APX_EDGE_PORT='http'")
    assert "Traceback" not in answer.stderr
