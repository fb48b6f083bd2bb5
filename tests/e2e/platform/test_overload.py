"""Too much to do for the real processes: the store is held still, so that what is under way stays under way."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from apx.local.platform import Platform, isolated
from tests.e2e.platform.client import Client, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
TINY = {"APX_ROUTER_MOST_WORK": "4", "APX_ROUTER_LEAST_WORK": "4"}
"""Of which the free plan has two, pro three, and enterprise all."""


@pytest.fixture
def tiny() -> Iterator[Platform]:
    home = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    with Platform.start(isolated(home), env=TINY) as platform:
        yield platform
    shutil.rmtree(home)


@contextmanager
def held_still(platform: Platform) -> Iterator[None]:
    platform.kill("valkey", signal.SIGSTOP)
    try:
        yield
    finally:
        platform.kill("valkey", signal.SIGCONT)


def under_way(platform: Platform) -> int:
    url = f"http://127.0.0.1:{platform.settings.router_port}/metrics"
    lines = httpx.get(url, timeout=10, trust_env=False).text.splitlines()
    return int(next(float(line.split()[1]) for line in lines if line.startswith("apx_work_under_way_requests ")))


def code(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return f"{answer.status_code} {answer.json()['code']}"


def test_the_lower_plan_is_turned_away_first_and_all_are_let_in_again_when_there_is_room(tiny: Platform) -> None:
    with (
        Client(tiny, "initech") as free,
        Client(tiny, "acme") as enterprise,
        ThreadPoolExecutor(4) as clients,
    ):
        assert [client.order().status_code for client in (free, enterprise)] == [202, 202]  # the keys are known now
        let_in: list[Future[httpx.Response]] = []

        def let(client: Client) -> None:
            before = len(let_in)
            let_in.append(clients.submit(client.order))
            assert eventually(lambda: under_way(tiny) == before + 1, within_s=3)

        with held_still(tiny):
            for client in (free, free):
                let(client)
            refused = free.order()
            for client in (enterprise, enterprise):
                let(client)
            refused_too, at_the_door = enterprise.order(), free.order()
            health = httpx.get(f"{tiny.edge}/healthz", timeout=10, trust_env=False).status_code
        assert [code(answer) for answer in (refused, refused_too, at_the_door)] == ["503 overloaded"] * 3
        assert 1 <= int(refused.headers["retry-after"]) <= 5
        assert health == 200
        assert [one.result(30).status_code for one in let_in] == [202] * 4
        assert eventually(lambda: under_way(tiny) == 0)
        assert free.order().status_code == 202
    line = next(line for line in tiny.log("router").splitlines() if refused.json()["request_id"] in line)
    assert '"code":"overloaded"' in line
