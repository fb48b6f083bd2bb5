from __future__ import annotations

from collections.abc import Iterator

import pytest

from apx.catalog.model import Route
from tests.e2e.edge import tokens
from tests.e2e.edge.world import World
from tests.unit.edge.manifests import EVERYTHING, manifest


@pytest.fixture(scope="session")
def served() -> Iterator[World]:
    """One Envoy for all tests that only send requests."""
    world = World(edge_headers_timeout_s=1, edge_request_timeout_s=2, edge_admit_timeout_s=0.5, edge_router_timeout_s=1)
    try:
        url = f"http://127.0.0.1:{world.backend.port}/base"
        short = Route(path="/{city}/stall", timeout_s=0.5)
        small = Route(path="/small", max_body_bytes=100)
        world.publish(
            manifest("forecast", url=url, routes=(short, small, *EVERYTHING), headers={"x-served-for": "apx"}),
            manifest("stream", url=url, streaming=True),
            manifest("payslips", url=url, jwt=tokens.asked()),
            manifest("letters", mode="async", jwt=tokens.asked()),
            manifest("orders", mode="async"),
        )
        yield world
    finally:
        world.close()


@pytest.fixture
def edge(served: World) -> World:
    """The shared Envoy, with nothing recorded yet."""
    served.forget()
    return served
