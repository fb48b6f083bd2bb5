from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from apx.errors import Misconfigured
from services.edge.binary import envoy_command, find_envoy
from services.edge.settings import EdgeSettings


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH on which there is nothing yet."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def _install(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_settings_come_first(bare: Path) -> None:
    _install(bare / "envoy")
    chosen = _install(bare / "mine")
    assert find_envoy(EdgeSettings(envoy=str(chosen))) == chosen


def test_path_comes_before_the_wheel(bare: Path) -> None:
    assert find_envoy(EdgeSettings()) != _install(bare / "envoy") == find_envoy(EdgeSettings())


@pytest.mark.usefixtures("bare")
def test_no_envoy_at_all_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", nothing)
    with pytest.raises(Misconfigured, match=r"no `envoy` on PATH(.|\n)*APX_ENVOY"):
        find_envoy(EdgeSettings())


def test_a_setting_that_names_no_binary_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="APX_ENVOY="):
        find_envoy(EdgeSettings(envoy=str(tmp_path / "missing")))


def test_two_installations_share_nothing(tmp_path: Path) -> None:
    command = envoy_command(EdgeSettings(home=tmp_path, envoy=str(_install(tmp_path / "envoy")), edge_drain_s=3))
    assert "--disable-hot-restart" in command
    assert command[command.index("--config-path") + 1] == str(tmp_path / "edge" / "bootstrap.json")
    assert command[command.index("--drain-time-s") + 1] == "3"
