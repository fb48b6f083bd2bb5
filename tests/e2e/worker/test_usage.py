"""Usage while workers, collectors and the store are killed: the totals are those of the requests, to the last one."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from apx.backends.files.usage import UsageFiles
from apx.backends.valkey.usage import ValkeyUsage
from apx.requests.model import Envelope, Result
from apx.usage.collect import Collector
from apx.usage.questions import BY, Question, moment
from tests.contract.conftest import Server, connected
from tests.e2e.worker.processes import running
from tests.e2e.worker.test_crash import Scene, kill_one_mid_call, scene, store
from tests.unit.worker.world import envelope_for, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("store")]
__all__ = ["scene", "store"]  # fixtures

EVER = Question(begin=moment("2020-01-01", what="from"), end=moment("2100-01-01", what="to"))


async def publish(scene: Scene, count: int) -> list[Envelope]:
    envelopes = [
        msgspec.structs.replace(
            envelope_for(f"/forecast/{n}", query="x-demo-delay-ms=60", org=f"org-{n % 7}"),
            key_id=f"key_{n % 5}",
            plan=("free", "gold")[n % 2],
            cost=0.5,
            cost_usd=0.25,
        )
        for n in range(count)
    ]
    for envelope in envelopes:
        await scene.bus.publish(envelope)
    return envelopes


async def cancel(scene: Scene, envelope: Envelope) -> None:
    await scene.results.put_if_absent(
        Result(
            id=envelope.id,
            org=envelope.org,
            product=envelope.product,
            release=envelope.release,
            state="cancelled",
            accepted_ms=envelope.accepted_ms,
            finished_ms=envelope.accepted_ms + 1,
        )
    )


async def test_totals_are_those_of_the_requests_while_everything_is_killed(
    scene: Scene, store: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "usage"
    envelopes = await publish(scene, 70)
    for envelope in envelopes[::10]:
        await cancel(scene, envelope)
    async with running("real_collector", scene.url, str(folder)) as first:
        await kill_one_mid_call(scene, calls=12)
        await eventually(lambda: any(folder.rglob("*.parquet")), within_s=30)
        first.kill()
    async with running("real_collector", scene.url, str(folder)), scene.worker():
        seen = len(scene.received())
        await eventually(lambda: len(scene.received()) >= seen + 5, within_s=30)
        store.kill()
        store.start()
        results = {envelope.id: await scene.result_of(envelope) for envelope in envelopes}
        await _idle(scene)
    files = UsageFiles(folder)
    async with connected(store) as client:
        await Collector(ValkeyUsage(client), files).collect()

    states = Counter(result.state for result in results.values())
    [whole] = await files.ask(EVER)
    assert states["cancelled"] == 7
    assert (whole.requests, whole.succeeded, whole.cancelled) == (70, states["succeeded"], states["cancelled"])
    assert (whole.cost_units, whole.cost_usd) == (35.0, 17.5)
    assert whole.attempts == sum(result.attempts for result in results.values())
    assert whole.response_bytes == sum(result.body_bytes for result in results.values())
    parts = await files.ask(msgspec.structs.replace(EVER, by=BY))
    found: Counter[tuple[str, str, str]] = Counter()
    for part in parts:
        found[part.group["org"], part.group["plan"], part.group["key"]] += part.requests
    assert found == Counter((one.org, one.plan, one.key_id) for one in envelopes)


async def _idle(scene: Scene) -> None:
    """Wait until no lane has anything: what was cancelled leaves its lane when its turn comes."""
    end = asyncio.get_running_loop().time() + 30
    while await scene.bus.depth():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)
