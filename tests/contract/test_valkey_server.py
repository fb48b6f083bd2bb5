"""Which server the platform embeds, and how it is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from apx.backends.valkey.server import find_server, server_command
from apx.errors import Misconfigured


def program(path: Path, version: str) -> Path:
    path.write_text(f'#!/bin/sh\necho "Valkey server v={version} sha=00000000:1 malloc=libc bits=64"\n')
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APX_VALKEY_SERVER", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")


def test_the_given_server_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "valkey-server", "9.0.0")
    given = program(tmp_path / "mine", "8.0.0")
    monkeypatch.setenv("APX_VALKEY_SERVER", str(given))
    assert find_server() == given


def test_a_given_server_that_is_no_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APX_VALKEY_SERVER", str(tmp_path / "nothing"))
    with pytest.raises(Misconfigured, match="APX_VALKEY_SERVER"):
        find_server()


def test_a_server_on_the_path_is_used(tmp_path: Path) -> None:
    found = program(tmp_path / "redis-server", "7.2.0")
    assert find_server() == found


def test_a_server_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    old = program(tmp_path / "redis-server", "6.2.14")
    assert find_server() != old


def test_the_bundled_server_is_the_last_resort() -> None:
    assert find_server().name == "valkey-server"


def test_the_server_syncs_before_it_answers_and_listens_on_no_port(tmp_path: Path) -> None:
    command = server_command(tmp_path / "data", tmp_path / "s.sock")
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--port"] == "0"
    assert options["--maxmemory-policy"] == "noeviction"
