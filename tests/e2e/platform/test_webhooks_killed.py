"""What is told while control, worker and store are killed: each event, under one id."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from apx.errors import ApxError
from apx.local.platform import Platform, isolated
from tests.e2e.platform.client import Client, eventually
from tests.e2e.platform.receiver import Receiver

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ORDERS = 60
KILLED = ("control", "worker", "valkey")


@pytest.fixture(params=["local", "gcp"])
def faulty(request: pytest.FixtureRequest) -> Iterator[Platform]:
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    try:
        with Platform.start(isolated(folder, backends=request.param), env={"APX_LEASE_S": "3"}) as platform:
            yield platform
    finally:
        shutil.rmtree(folder)


def test_killing_control_worker_and_store_loses_no_event_and_gives_none_a_second_id(faulty: Platform) -> None:
    headers = {"authorization": f"Bearer {faulty.admin_token}"}
    with Receiver() as receiver, Client(faulty, "acme") as acme:
        wish = {"org": "acme", "url": receiver.url, "events": ["request.succeeded"]}
        made = httpx.post(f"{faulty.control}/api/v1/webhooks", json=wish, headers=headers, timeout=30, trust_env=False)
        secret = made.json()["secret"]
        accepted = []
        for number in range(ORDERS):
            if number % 10 == 5:
                kill(faulty, KILLED[number // 10 % len(KILLED)])
            accepted.append(accept(acme))
        finished = {str(acme.finished(location, within_s=60)["id"]) for location in accepted}
        assert eventually(lambda: finished <= told(receiver), within_s=90), len(finished - told(receiver))
        assert len(finished) == ORDERS
        ids = {one.event["data"]["request"]: set[str]() for one in receiver.attempts}
        for one in receiver.attempts:
            assert one.signed_by(secret)
            ids[one.event["data"]["request"]].add(one.id)
        assert [request for request, seen in ids.items() if len(seen) != 1] == []


def told(receiver: Receiver) -> set[str]:
    return {str(one.event["data"]["request"]) for one in receiver.taken}


def kill(platform: Platform, name: str) -> None:
    """Kill a process, once it runs."""

    def killed() -> bool:
        try:
            return bool(platform.kill(name))
        except ApxError:
            return False

    assert eventually(killed)


def accept(acme: Client) -> str:
    """Place an order, again while something is down."""
    locations: list[str] = []

    def placed() -> bool:
        try:
            answer = acme.order()
        except httpx.TransportError:
            return False
        if answer.status_code == 202:
            locations.append(answer.headers["location"])
        return bool(locations)

    assert eventually(placed, within_s=30)
    return locations[0]
