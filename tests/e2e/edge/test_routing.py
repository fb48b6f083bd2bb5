from __future__ import annotations

import pytest

from tests.e2e.edge.fakes import PROBLEM
from tests.e2e.edge.world import World

pytestmark = pytest.mark.e2e
GOOD = {"x-api-key": "good"}


@pytest.mark.parametrize("path", ["/orders", "/orders/7?a=b", "/healthz", "/readyz", "/v1/requests/x", "/unknown"])
def test_all_but_synchronous_products_go_to_the_router(edge: World, path: str) -> None:
    answer = edge.call("GET", path)
    assert (answer.status_code, answer.headers["x-from"]) == (202, "router")
    assert [seen.target for seen in edge.router.seen] == [path]


@pytest.mark.parametrize(
    ("path", "at_backend"),
    [
        ("/forecast", "/base/"),
        ("/forecast/", "/base/"),
        ("/forecast/paris", "/base/paris"),
        ("/forecast/a%20b/forecast/c?q=%2F..", "/base/a%20b/forecast/c?q=%2F.."),
    ],
)
def test_a_synchronous_product_goes_to_its_backend(edge: World, path: str, at_backend: str) -> None:
    answer = edge.call("GET", path, headers=GOOD)
    assert (answer.status_code, answer.headers["x-from"]) == (200, "backend")
    assert edge.router.seen[0].target == f"/-/admit{path}"
    assert [seen.target for seen in edge.backend.seen] == [at_backend]


@pytest.mark.parametrize("path", ["/forecastx", "/forecas", "/FORECAST/x", "/x/forecast/y", "/?/forecast/x"])
def test_a_base_path_ends_at_a_segment(edge: World, path: str) -> None:
    edge.call("GET", path, headers=GOOD)
    assert [seen.target for seen in edge.router.seen] == [path]
    assert not edge.backend.seen


@pytest.mark.parametrize("path", ["/-/admit/forecast/x", "/-/", "/-/x", "/metrics", "/metrics/x", "/metrics?x=y"])
def test_what_is_internal_is_not_there(edge: World, path: str) -> None:
    answer = edge.call("GET", path, headers=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert not edge.router.seen


def test_admission_sees_method_path_and_headers_but_no_body(edge: World) -> None:
    headers = GOOD | {"accept-language": "fr", "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    edge.call("POST", "/forecast/paris?q=1", headers=headers, json={"a": 1})
    asked = edge.router.seen[0]
    assert (asked.method, asked.target, asked.body) == ("POST", "/-/admit/forecast/paris?q=1", b"")
    assert asked.header("x-api-key") == "good"
    assert asked.header("accept-language") == "fr"
    assert asked.header("content-type") == "application/json"
    assert asked.header("traceparent") == headers["traceparent"]
    assert asked.header("x-envoy-external-address") == "127.0.0.1"
    assert asked.header("x-request-id") == edge.backend.seen[0].header("x-request-id")
    assert edge.backend.seen[0].body == b'{"a":1}'


def test_the_backend_gets_the_policys_headers_and_no_credentials(edge: World) -> None:
    headers = GOOD | {"authorization": "Bearer good", "cookie": "a=b", "x-tier": "forged", "x-served-for": "forged"}
    edge.call("GET", "/forecast/paris", headers=headers)
    got = edge.backend.seen[0]
    assert got.header("x-tier") == "gold"
    assert got.header("tenant-tier") == "pro"
    assert got.header("x-served-for") == "apx"
    assert got.header("host") == f"127.0.0.1:{edge.backend.port}"
    assert got.header("ratelimit") is None
    hidden = {"authorization", "x-api-key", "cookie", "x-envoy-auth-headers-to-remove"}
    assert not [n for n, _ in got.headers if n in hidden or n.startswith(("x-apx-", "x-envoy-"))]


def test_the_client_gets_the_limits_of_an_admitted_request(edge: World) -> None:
    answer = edge.call("GET", "/forecast/paris", headers=GOOD)
    assert answer.headers["ratelimit"] == '"plan";r=9;t=1'
    assert answer.headers["server"] == "apx"
    assert not [name for name in answer.headers if name.startswith(("x-apx-", "x-envoy-", "x-tier"))]


def test_a_refusal_of_the_router_reaches_the_client_as_it_is(edge: World) -> None:
    answer = edge.call("GET", "/forecast/paris", headers={"x-api-key": "deny"})
    assert answer.status_code == 403
    assert answer.json() == {"code": "policy-says-no", "status": 403, "request_id": "the-router's"}
    assert answer.headers["content-type"] == PROBLEM
    assert (answer.headers["retry-after"], answer.headers["ratelimit"]) == ("7", '"plan";r=0;t=7')
    assert not edge.backend.seen


@pytest.mark.parametrize("key", ["slow", "crash"])
def test_admission_that_does_not_answer_refuses(edge: World, key: str) -> None:
    answer = edge.call("GET", "/forecast/paris", headers={"x-api-key": key})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "trace" not in answer.text
    assert not edge.backend.seen


def test_the_time_limit_of_a_route_holds(edge: World) -> None:
    answer = edge.call("GET", "/forecast/paris/stall", headers=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    assert answer.elapsed.total_seconds() < 2


def test_a_router_that_hangs_is_not_waited_for(edge: World) -> None:
    answer = edge.call("POST", "/orders", headers={"x-api-key": "slow"})
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    assert answer.elapsed.total_seconds() < 3


def test_behind_googles_load_balancer_the_client_is_the_second_from_the_right() -> None:
    """It adds `<client>,<itself>` to whatever the client claimed."""
    world = World(edge_xff_hops=2)
    try:
        world.forget()
        claimed, client, load_balancer = "198.51.100.6", "203.0.113.9", "34.120.0.1"
        world.call("GET", "/orders", headers={"x-forwarded-for": f"{claimed}, {client},{load_balancer}"})
        assert [seen.header("x-envoy-external-address") for seen in world.router.seen] == [client]
    finally:
        world.close()
