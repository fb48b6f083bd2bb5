"""The fault run: edge, router, worker and store are killed while twenty orgs send; nothing promised is lost.

Modes: Valkey with `appendfsync always`; and Google's emulators, where the lanes lose all their data on top of it, as a
Memorystore that fails without a replica would. kill -9 shows that no process holds a promise in its memory; that the
store's answer follows its fsync is checked by counting syncs in `tests/contract/`.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from apx import bootstrap
from apx.backends.valkey.connection import connect
from apx.errors import Unavailable
from apx.local.platform import Platform, isolated
from tests.e2e.platform.client import received
from tests.e2e.platform.load import Promise, collect_all, send_all
from tests.e2e.platform.trees import copied, with_orgs

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ORGS = [f"org-{number:02d}" for number in range(20)]
EACH = 150
KILLED = ("worker", "router", "edge", "valkey")
ROUNDS = 2
_NOTE = re.compile(r'"note":\s*"(org-\d\d)/(\d+)"')


@pytest.fixture(params=["local", "gcp"])
def faulty(request: pytest.FixtureRequest) -> Iterator[Platform]:
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    try:
        tree = with_orgs(copied(folder), ORGS)
        with Platform.start(
            isolated(folder / "home", gitops=tree, backends=request.param), env={"APX_LEASE_S": "3"}
        ) as platform:
            yield platform
    finally:
        shutil.rmtree(folder)


async def test_killing_every_process_loses_no_accepted_request_and_keeps_every_lane_in_order(faulty: Platform) -> None:
    ledger: list[Promise] = []
    killing = asyncio.create_task(kill_in_turn(faulty, ledger))
    promises = await send_all(faulty, ORGS, EACH, ledger=ledger)
    kills = await killing
    documents = await collect_all(faulty, promises, within_s=240)

    assert all(kills[name] >= ROUNDS for name in KILLED), kills
    assert kills["lanes"] == (faulty.settings.backends == "gcp")
    assert len(promises) == len(ORGS) * EACH
    assert len({promise.location for promise in promises}) == len(promises)
    assert len(documents) == len(promises)
    assert Counter(document["state"] for document in documents.values()) == {"succeeded": len(promises)}
    again = await collect_all(faulty, promises, within_s=120)
    assert again == documents
    for org, numbers in order_of_effects(faulty).items():
        assert numbers == sorted(numbers), f"{org} ran out of order"
        assert set(numbers) == set(range(EACH)), f"{org} misses requests"
    assert await used(faulty, len(promises), within_s=120) == dict.fromkeys(ORGS, EACH)


async def used(platform: Platform, requests: int, within_s: float) -> dict[str, int]:
    """Ask the control API for each org's requests, until there are so many of them or it is too late.

    On Google Cloud the event of a worker that was killed between a result and its event comes with the journal.
    """
    end = asyncio.get_running_loop().time() + within_s
    headers = {"authorization": f"Bearer {bootstrap.admin_token(platform.settings)}"}
    async with httpx.AsyncClient(base_url=platform.control, headers=headers, timeout=60) as client:
        while True:
            answer = await client.get("/api/v1/usage", params={"by": "org", "product": "orders"})
            found = {one["org"]: one["requests"] for one in answer.raise_for_status().json()["totals"]}
            if sum(found.values()) >= requests or asyncio.get_running_loop().time() > end:
                return found
            await asyncio.sleep(1)


async def kill_in_turn(platform: Platform, ledger: list[Promise]) -> Counter[str]:
    """Kill one process after the other, each when a further share of the requests was accepted."""
    kills: Counter[str] = Counter()
    total = len(ORGS) * EACH
    for step, name in enumerate(KILLED * ROUNDS, start=1):
        while len(ledger) < total * step / (len(KILLED) * ROUNDS + 1):  # noqa: ASYNC110 -- another task's list, no event
            await asyncio.sleep(0.02)
        if step == len(KILLED) + 1 and platform.settings.backends == "gcp":
            kills["lanes"] += await lose_lanes(platform)
        while name not in kills or kills[name] < (step + len(KILLED) - 1) // len(KILLED):
            try:
                await asyncio.to_thread(platform.kill, name)
                kills[name] += 1
            except Unavailable:
                await asyncio.sleep(0.1)
    return kills


async def lose_lanes(platform: Platform) -> int:
    """Empty the store that deals requests out."""
    client = connect(platform.settings.store_url)
    try:
        await client.flushall()
    finally:
        await client.aclose()
    return 1


def order_of_effects(platform: Platform) -> dict[str, list[int]]:
    """Return the numbers of each org in the order in which the backend received them, repetitions included."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for entry in received(platform):
        found = _NOTE.search(str(entry))
        if found is not None:
            numbers[found[1]].append(int(found[2]))
    return numbers
