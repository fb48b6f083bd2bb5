"""The README's way from nothing to an org that has used up its day, carried out as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apx.local.platform import REPOSITORY, Platform, isolated
from apx.local.settings import free_ports
from tests.e2e.platform.client import eventually
from tests.e2e.platform.trees import copied

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SECTION = "### From nothing to an org that has used up its day"
DEV = f"""#!/bin/sh
export PYTHONPATH={REPOSITORY}
case $1 in
  apx) shift && exec {sys.executable} -m apx.cli.main "$@" ;;
  demo) shift 2 && exec {sys.executable} -m examples.webhook_listener "$@" >> .apx/heard ;;
esac
exit 64
"""


class Terminal:
    """A newcomer's: a shell in a folder that has `dev` and a copy of `gitops`."""

    def __init__(self, folder: Path, platform: Platform, port: int) -> None:
        self._folder = folder
        self._platform = platform
        self._port = str(port)
        self._environment = {**os.environ, **platform.settings.environment()}

    def type(self, command: str) -> str:
        """Carry out a command of the README, with this platform's address and a free port; return what it printed."""
        command = command.replace("http://127.0.0.1:8080", self._platform.edge).replace("9100", self._port)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        return done.stdout

    def listen(self, command: str) -> subprocess.Popen[bytes]:
        """Carry out a command that goes on."""
        command = command.replace("9100", self._port).removesuffix(" &").replace("./dev", "exec ./dev")
        return subprocess.Popen(["bash", "-c", command], cwd=self._folder, env=self._environment)

    def heard(self) -> str:
        heard = self._folder / ".apx" / "heard"
        return heard.read_text() if heard.exists() else ""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    if shutil.which("curl") is None:
        pytest.fail("The README's commands need curl: apt-get install curl")
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    copied(folder)
    (folder / ".apx").mkdir()
    (folder / "dev").write_text(DEV)
    (folder / "dev").chmod(0o755)
    with Platform.start(isolated(folder / "home", gitops=folder / "gitops")) as platform:
        yield Terminal(folder, platform, free_ports(1)[0])
    shutil.rmtree(folder)


def commands() -> list[str]:
    """Return the section's commands, each with the lines that belong to it."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = readme.partition(SECTION)[2].partition("```console\n")[2].partition("```")[0]
    found: list[str] = []
    last = ""
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
            last = _last_line(line)
        elif last:
            found[-1] += f"\n{line}"
            last = "" if re.fullmatch(last, line) else last
    return found


def _last_line(first: str) -> str:
    """Return how the last of the lines looks that belong to a command; empty where there is but one."""
    if "<<'EOF'" in first:
        return "EOF"
    if first.endswith("; do"):
        return " *done"
    return r".*[^\\]" if first.endswith("\\") else ""


def test_a_newcomer_makes_an_org_hits_its_limit_sees_its_bill_and_hears_of_it(terminal: Terminal) -> None:
    listener, key_id, codes, count = None, "", [""], 0
    try:
        for command in commands():
            if command.endswith(" &"):
                listener = terminal.listen(command)
                assert eventually(lambda: "listening" in terminal.heard(), within_s=20)
                continue
            said = terminal.type(command.replace("key_…", key_id))
            if "key create" in command:
                key_id = re.findall("key_[0-9a-f]+", said)[0]
            if "curl" in command:
                codes = said.split()
                count = codes.count("202")  # three, or more on a machine that takes seconds to ask
                assert eventually(lambda: "request.succeeded" in terminal.heard(), within_s=30)
            if "apx usage" in command:
                assert re.search(rf"orders\s+{count}\s+{count}\s.*\s0\.0{count}", said), said
            if "org budget" in command:
                assert re.search(rf"daily\s+0\.0{count}\s+0\.05", said), said
                assert eventually(lambda: "budget.mark" in terminal.heard(), within_s=40)
    finally:
        if listener is not None:
            listener.send_signal(signal.SIGINT)
            listener.wait(10)
    assert codes[:3] == ["202"] * 3
    assert "429" in codes
    assert "refused" not in terminal.heard()
