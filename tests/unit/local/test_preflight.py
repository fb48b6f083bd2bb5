from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from apx.errors import InvalidCatalog, Misconfigured
from apx.local.folder import SOCKET_PATH_BYTES, Folder
from apx.local.leftovers import leftovers
from apx.local.parts import Parts
from apx.local.platform import REPOSITORY, Platform, isolated
from apx.local.preflight import check
from apx.local.settings import LocalSettings
from tests.unit.local.fakes import fake_seed, two, unprepared


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def with_ports(home: Path, **ports: int) -> LocalSettings:
    return isolated(home).model_copy(update=ports).resolved()


def test_a_taken_port_is_told_with_its_holder_and_the_variable_that_moves_ours(home: Path, taken: int) -> None:
    with pytest.raises(Misconfigured, match=rf"Port {taken} .*\(pid {os.getpid()}\) listens.*APX_EDGE_PORT=PORT"):
        check(with_ports(home, edge_port=taken))


def test_two_ports_that_are_the_same_are_told_by_their_variables(home: Path) -> None:
    port = isolated(home).resolved().edge_port
    with pytest.raises(Misconfigured, match=f"APX_EDGE_PORT and APX_CONTROL_PORT are the same port, {port}"):
        check(with_ports(home, edge_port=port, control_port=port))


def test_a_broken_gitops_tree_starts_nothing(home: Path, tmp_path: Path) -> None:
    gitops = tmp_path / "gitops"
    shutil.copytree(REPOSITORY / "gitops", gitops)
    with (gitops / "plans" / "free.yaml").open("a") as file:
        file.write("  colour: red\n")
    with pytest.raises(InvalidCatalog, match=r"free\.yaml:\d+.*colour"):
        Platform.start(isolated(home, gitops=gitops), parts=Parts(processes=two, prepare=unprepared, seed=fake_seed))
    assert not leftovers(home)


@pytest.mark.parametrize(("name", "value"), [("APX_OPA", "/no/opa"), ("APX_ENVOY", "/no/envoy")])
def test_a_named_tool_that_is_not_there_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=f"{name}=.?{value}"):
        check(isolated(home).resolved())


def test_a_home_too_long_for_sockets_is_told_with_both_lengths(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=f"may have {SOCKET_PATH_BYTES} bytes"):
        Folder(tmp_path / ("x" * 100)).make()


@pytest.mark.parametrize("character", ['"', ";", "%", "\n"])
def test_a_home_that_the_supervisor_would_misread_is_refused(character: str) -> None:
    with pytest.raises(Misconfigured, match="cannot be used"):
        Folder(Path("/tmp") / f"a{character}b").make()  # noqa: S108 -- refused, so never made


def test_a_home_that_cannot_be_written_is_told() -> None:
    with (
        NamedTemporaryFile(prefix="apx-") as file,  # a socket's path is short, and `tmp_path` is not
        pytest.raises(Misconfigured, match="cannot be written"),
    ):
        Folder(Path(file.name) / "home").make()
