from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from apx.local.probes import FileProbe, HttpProbe, PingProbe


@pytest.fixture
def path(home: Path) -> Path:
    return home / "s.sock"


@pytest.fixture
def answering(path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A Unix socket that answers its one caller with the test's bytes."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(request.param)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join(timeout=5)


@pytest.mark.parametrize("answering", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], indirect=True)
def test_http_is_ready_at_200(answering: Path) -> None:
    assert HttpProbe("/readyz", socket=str(answering)).missing() == ""


@pytest.mark.parametrize("answering", [b"HTTP/1.1 503 X\r\nContent-Length: 7\r\n\r\nno keys"], indirect=True)
def test_http_tells_another_status_with_what_the_process_says(answering: Path) -> None:
    assert HttpProbe("/readyz", socket=str(answering)).missing() == "GET /readyz answers 503 no keys"


@pytest.mark.parametrize("answering", [b"what?\r\n"], indirect=True)
def test_http_tells_an_answer_that_is_none(answering: Path) -> None:
    assert "BadStatusLine" in HttpProbe("/readyz", socket=str(answering)).missing()


def test_http_tells_that_nobody_listens(path: Path) -> None:
    assert "FileNotFoundError" in HttpProbe("/readyz", socket=str(path)).missing()


@pytest.mark.parametrize("answering", [b"+PONG\r\n"], indirect=True)
def test_valkey_is_ready_at_pong(answering: Path) -> None:
    assert PingProbe(str(answering)).missing() == ""


@pytest.mark.parametrize("answering", [b"-LOADING the data\r\n"], indirect=True)
def test_valkey_is_not_ready_while_it_loads(answering: Path) -> None:
    assert PingProbe(str(answering)).missing() == "PING answers -LOADING the data"


def test_valkey_is_not_ready_while_nobody_listens(path: Path) -> None:
    assert PingProbe(str(path)).missing().startswith("PING: ")


def test_a_file_is_ready_when_it_is_there_and_fresh(tmp_path: Path) -> None:
    probe = FileProbe(str(tmp_path / "file"), since=1000.0)
    assert probe.missing().endswith("is not written yet")
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (999, 999))
    assert probe.missing().endswith("is left from an earlier run")
    os.utime(tmp_path / "file", (1000, 1000))
    assert probe.missing() == ""
