"""The platform as `./dev up` starts it, every process the real one."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from apx.errors import Conflict
from apx.local.example import ORDER
from apx.local.folder import Folder
from apx.local.leftovers import leftovers
from apx.local.platform import Platform, isolated
from apx.local.settings import busy
from apx.local.status import healthy, rows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PROCESSES = ("valkey", "demo", "control", "monitor", "worker", "router", "edge-config", "edge")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def platform(home: Path) -> Iterator[Platform]:
    with Platform.start(isolated(home)) as platform:
        yield platform
        ports = platform.settings.ports().values()
    assert not leftovers(home)
    assert not any(busy(port) for port in ports)


def order(platform: Platform, *, wait_s: int = 20) -> httpx.Response:
    return httpx.request(
        ORDER.method,
        f"{platform.edge}{ORDER.path}",
        json=ORDER.body,
        headers={"Authorization": f"Bearer {platform.keys['acme']}", "Prefer": f"wait={wait_s}"},
        timeout=wait_s + 10,
    )


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < deadline:
        if holds():
            return True
        pause.wait(0.1)
    return False


def ordered(platform: Platform) -> bool:
    try:
        return order(platform).status_code == httpx.codes.CREATED
    except httpx.TransportError:
        return False


def test_the_example_is_served_as_soon_as_up_returns(platform: Platform) -> None:
    answer = order(platform)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    assert answer.json()["received"] == ORDER.body


def test_every_process_runs(platform: Platform) -> None:
    assert tuple(row.process for row in rows(Folder(platform.home))) == PROCESSES
    assert healthy(rows(Folder(platform.home)))


def test_a_second_start_in_the_same_folder_is_refused(platform: Platform) -> None:
    with pytest.raises(Conflict, match="already runs"):
        Platform.start(isolated(platform.home))
    assert ordered(platform)


@pytest.mark.parametrize("name", PROCESSES)
def test_requests_are_served_again_after_any_process_was_killed(platform: Platform, name: str) -> None:
    old = platform.kill(name)
    assert within(10, lambda: platform.pid(name) not in {0, old})
    platform.wait_ready(name, timeout_s=60)
    assert within(60, lambda: ordered(platform))


def test_a_request_under_way_is_answered_while_the_platform_stops_and_kept_for_the_next_one() -> None:
    home = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    try:
        with Platform.start(isolated(home)) as platform:
            slow = accepted(platform, delay_ms=1500)
            assert within(20, lambda: get(platform, slow).json()["state"] == "running")
            answers: list[httpx.Response] = []
            waiting = threading.Thread(target=lambda: answers.append(get(platform, f"{slow}/result", wait_s=20)))
            waiting.start()
            assert within(20, lambda: under_way(platform) == 1)
        waiting.join(timeout=30)
        assert [answer.status_code for answer in answers] == [httpx.codes.CREATED]
        with Platform.start(isolated(home)) as platform:
            assert get(platform, slow).json()["state"] == "succeeded"
    finally:
        shutil.rmtree(home)


def accepted(platform: Platform, *, delay_ms: int) -> str:
    answer = httpx.request(
        ORDER.method,
        f"{platform.edge}{ORDER.path}?x-demo-delay-ms={delay_ms}",
        json=ORDER.body,
        headers={"Authorization": f"Bearer {platform.keys['acme']}"},
        timeout=10,
    )
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return answer.headers["location"]


def get(platform: Platform, path: str, *, wait_s: int = 0) -> httpx.Response:
    headers = {"Authorization": f"Bearer {platform.keys['acme']}", "Prefer": f"wait={wait_s}"}
    return httpx.get(f"{platform.edge}{path}", headers=headers, timeout=wait_s + 10)


def under_way(platform: Platform) -> int:
    """Return how many requests Envoy has not answered yet."""
    transport = httpx.HTTPTransport(uds=str(Folder(platform.home).edge_admin_socket))
    with httpx.Client(transport=transport, base_url="http://envoy") as client:
        stats = client.get("/stats", params={"filter": r"^http\.edge\.downstream_rq_active$"}).text
    return int(stats.rpartition(": ")[2])
