"""`edge-config` as a process: what says from outside that it works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.edge.drain import main as drain
from tests.unit.router.test_process import answers, free_port, wait_until

PROBED = ("/healthz", "/readyz", "/metrics")


@pytest.fixture
def health(tmp_path: Path) -> Iterator[str]:
    """The address of an `edge-config` that has no store."""
    port = free_port()
    environment = os.environ | {"APX_HOME": str(tmp_path), "APX_EDGE_CONFIG_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "services.edge"], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port))
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_it_is_ready_once_it_has_published(health: str, tmp_path: Path) -> None:
    assert _statuses(health) == [200, 503, 200]
    (tmp_path / "edge" / "published.json").write_text("{}")
    assert _statuses(health) == [200, 200, 200]


def test_draining_an_edge_that_is_not_there_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APX_HOME", str(tmp_path))
    assert drain(["0"]) == 0


def test_a_drain_says_what_is_wrong_with_its_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APX_EDGE_PORT", "no")
    assert drain([]) != 0
    assert "APX_EDGE_PORT='no'" in capsys.readouterr().err


def _statuses(health: str) -> list[int]:
    return [httpx.get(health + path, trust_env=False).status_code for path in PROBED]
