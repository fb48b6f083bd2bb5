"""The router and the control API as processes: how they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)


@pytest.mark.parametrize("module", ["services.router", "services.control"])
def test_a_process_that_is_told_to_stop_ends_by_itself(module: str, tmp_path: Path) -> None:
    """Without a store: it is away, and that ends nobody."""
    port = free_port()
    environment = os.environ | {
        "APX_HOME": str(tmp_path),
        "APX_ROUTER_PORT": "0",
        "APX_CONTROL_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=subprocess.PIPE)
    try:
        wait_until((tmp_path / "run" / "router.sock").exists if module == "services.router" else lambda: answers(port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_health_is_served_where_the_settings_say(tmp_path: Path) -> None:
    port = str(free_port())
    elsewhere = {"APX_HOME": str(tmp_path), "APX_ROUTER_PORT": port, "APX_ROUTER_HOST": "192.0.2.1"}  # nobody's address
    command = [sys.executable, "-m", "services.router"]
    ended = subprocess.run(command, env=os.environ | elsewhere, capture_output=True, text=True, check=False, timeout=30)
    assert f"cannot serve health on 192.0.2.1:{port}" in ended.stderr
    assert ended.returncode
