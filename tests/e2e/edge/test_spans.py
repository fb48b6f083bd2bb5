from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.edge.world import World, until
from tests.unit.edge.manifests import manifest

pytestmark = pytest.mark.e2e
TRACE = "1" * 32


@pytest.fixture
def traced() -> Iterator[World]:
    world = World(spans_to_backend=True, trace_sample_percent=100)
    try:
        world.publish(manifest("forecast", url=f"http://127.0.0.1:{world.backend.port}/base"))
        yield world
    finally:
        world.close()


def test_a_trace_goes_on_through_the_edge_and_tells_no_secret(traced: World) -> None:
    given = {"x-api-key": "good", "authorization": "Bearer canary", "traceparent": f"00-{TRACE}-{'2' * 16}-01"}
    for _ in range(10):
        traced.call("GET", "/forecast/paris?token=canary", headers=given)
    until(lambda: any(seen.target == "/v1/traces" for seen in traced.backend.seen), within_s=10)
    spans = b"".join(seen.body for seen in traced.backend.seen if seen.target == "/v1/traces")
    assert bytes.fromhex(TRACE) in spans
    assert b"canary" not in spans
    parents = {
        (seen.header("traceparent") or "").split("-")[1] for seen in traced.router.seen if "paris" in seen.target
    }
    assert parents == {TRACE}
