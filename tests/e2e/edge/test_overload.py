"""More for the router than it takes on: what is over the bound the edge answers by itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.edge.raw import request, send
from tests.e2e.edge.world import World, until
from tests.unit.edge.manifests import manifest

pytestmark = pytest.mark.e2e
PLACES = 2


@pytest.fixture
def full() -> Iterator[World]:
    """An edge whose every place at the router is taken, and as many requests wait for one, until `let_go`."""
    world = World(edge_router_requests=PLACES)
    with ThreadPoolExecutor(2 * PLACES) as clients:
        try:
            url = f"http://127.0.0.1:{world.backend.port}"
            world.publish(manifest("orders", mode="async"), manifest("forecast", url=url))
            world.forget()  # the questions whether it listens
            held = [clients.submit(order, world, "held") for _ in range(PLACES)]
            until(lambda: len(world.router.seen) == PLACES)
            held += [clients.submit(order, world, "held") for _ in range(PLACES)]
            until(lambda: pending(world) == PLACES)
            yield world
            world.loop.run(world.router.let_go())
            assert [one.result(10).status_code for one in held] == [202] * len(held)
        finally:
            world.loop.run(world.router.let_go())
            world.close()


def order(world: World, key: str) -> httpx.Response:
    return world.call("POST", "/orders", headers={"x-api-key": key}, content=b"{}")


def pending(world: World) -> int:
    transport = httpx.HTTPTransport(uds=str(world.settings.admin_path))
    with httpx.Client(transport=transport, base_url="http://admin") as client:
        text = client.get("/stats", params={"filter": "router-accepts.upstream_rq_pending_active"}).text
    return int(text.rpartition(":")[2] or 0)


def test_what_is_over_the_bound_is_refused_at_once_with_a_time_to_come_back(full: World) -> None:
    answer = order(full, "good")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["status"]) == ("overloaded", 503)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["retry-after"] in "0123456789"
    assert len(full.router.seen) == PLACES


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/orders", {"prefer": "wait=5"}),
        ("GET", "/v1/requests/r1", {}),
        ("GET", "/v1/requests/r1/events", {}),
        ("GET", "/healthz", {}),
        ("GET", "/forecast/paris", {"x-api-key": "good"}),
    ],
)
def test_who_waits_collects_or_asks_for_something_else_is_not_in_that_bound(
    full: World, method: str, path: str, headers: dict[str, str]
) -> None:
    assert full.call(method, path, headers=headers).status_code in (200, 202)


def test_a_body_over_what_is_held_back_is_the_routers_business(full: World) -> None:
    large = b"a" * (full.settings.edge_small_body_bytes + 1)
    assert full.call("POST", "/orders", headers={"x-api-key": "good"}, content=large).status_code == 202


def test_a_slow_sender_takes_no_place(edge: World) -> None:
    slow = request("POST /orders HTTP/1.1", "Content-Length: 100", body=b"a")
    send(edge.settings.edge_port, slow, wait_s=0.2)
    assert not edge.router.seen


def test_places_that_are_free_again_are_taken(full: World) -> None:
    assert order(full, "good").status_code == 503
    full.loop.run(full.router.let_go())
    until(lambda: order(full, "good").status_code == 202)
