from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apx.catalog.model import Jwt, Route
from apx.policy.answer import RESERVED, RESERVED_PREFIXES
from apx.release.digest import short
from apx.release.model import Manifest
from services.edge.addresses import Addresses
from services.edge.admission import (
    BUFFER_FILTER,
    EXT_AUTHZ_ANEW,
    EXT_AUTHZ_FILTER,
    NOT_FOR_BACKENDS,
    NOT_FOR_BACKENDS_PREFIXES,
    ext_authz,
)
from services.edge.clusters import backend_cluster_names
from services.edge.jwt import JWT_FILTER
from services.edge.render import Rendered, document, version
from services.edge.render import render as render_serving
from services.edge.settings import EdgeSettings
from tests.unit.edge.keys import rsa_jwks
from tests.unit.edge.manifests import digest, manifest, served

SETTINGS = EdgeSettings(home=Path("/srv/apx"))
TOKEN = Jwt(issuer="https://issuer.test", audiences=("apx",), jwks=rsa_jwks())


def render(
    products: Sequence[Manifest | tuple[Manifest, Manifest]],
    settings: EdgeSettings,
    addresses: Addresses | None = None,
) -> Rendered:
    return render_serving(served(*products), settings, addresses)


def _tree(rendered: Rendered) -> dict[str, Any]:
    matcher = rendered.routes[0]["virtual_hosts"][0]["matcher"]["on_no_match"]["matcher"]
    found: dict[str, Any] = matcher["matcher_tree"]["prefix_match_map"]["map"]
    return found


def _routes(rendered: Rendered) -> Iterator[dict[str, Any]]:
    for entry in _tree(rendered).values():
        yield from entry["action"]["typed_config"]["routes"]


def _to_backends(rendered: Rendered) -> list[dict[str, Any]]:
    return [route for route in _routes(rendered) if route.get("route", {}).get("cluster", "").startswith("backend-")]


def _mixed() -> list[Manifest]:
    return [
        manifest("forecast", url="https://api.example.com/v1", routes=(Route(path="/{city}", timeout_s=5),)),
        manifest("stream", streaming=True),
        manifest("payslips", jwt=TOKEN),
        manifest("letters", mode="async", jwt=TOKEN),
        manifest("orders", mode="async"),
    ]


def test_nothing_released_leaves_the_router_and_what_is_nobodys() -> None:
    rendered = render((), SETTINGS)
    assert set(_tree(rendered)) == {"/-/", "/metrics", "/v1/requests"}
    assert rendered.clusters == []
    static = rendered.bootstrap["static_resources"]["clusters"]
    assert [one["name"] for one in static] == ["router", "router-accepts", "router-admission"]


def test_asynchronous_products_cost_the_edge_nothing() -> None:
    many = [manifest(f"p{n}", mode="async") for n in range(1000)]
    assert document(render(many, SETTINGS).routes) == document(render((), SETTINGS).routes)


def test_the_listener_is_the_same_whatever_is_released() -> None:
    assert render(_mixed(), SETTINGS).listeners == render((), SETTINGS).listeners


def test_the_same_releases_give_the_same_bytes_in_any_order() -> None:
    one, other = (msgspec.json.encode(render(some, SETTINGS)) for some in (_mixed(), _mixed()[::-1]))
    assert one == other


def test_a_version_changes_with_what_it_names_and_only_then() -> None:
    first, same, second = (render([manifest("a", url=url)], SETTINGS) for url in ("http://a", "http://a", "http://b"))
    assert version(first.routes) == version(same.routes) != version(second.routes)


def test_no_route_leads_to_a_backend_without_admission() -> None:
    for route in _to_backends(render(_mixed(), SETTINGS)):
        assert route["typed_per_filter_config"][EXT_AUTHZ_FILTER]["@type"].endswith("FilterConfig")
        assert "disabled" not in route["typed_per_filter_config"][EXT_AUTHZ_FILTER]
        assert {"authorization", "x-api-key"} <= set(route["request_headers_to_remove"])


def test_what_the_edge_keeps_from_a_backend_no_policy_may_set() -> None:
    """Else an obligation would be dropped without a word."""
    assert set(NOT_FOR_BACKENDS) <= RESERVED
    assert set(NOT_FOR_BACKENDS_PREFIXES) - {":"} <= set(RESERVED_PREFIXES)


def test_no_route_of_a_product_with_tokens_is_without_one() -> None:
    rendered = render(_mixed(), SETTINGS)
    for product in ("payslips", "letters"):
        routes = _tree(rendered)[f"/{product}"]["action"]["typed_config"]["routes"]
        served = [r for r in routes if "route" in r and r["match"].get("prefix") != "/"]
        assert served
        for route in served:
            assert route["typed_per_filter_config"][JWT_FILTER]["requirement_name"] == product
        assert [r["direct_response"]["status"] for r in routes[:2]] == [401, 401]


@pytest.mark.parametrize("path", ["/v1/requests", "/letters"])
def test_whoever_prefers_to_wait_has_the_time_for_it_everywhere(path: str) -> None:
    routes = _tree(render(_mixed(), SETTINGS))[path]["action"]["typed_config"]["routes"]
    waits = [
        route for route in routes if {"name": "prefer", "present_match": True} in route["match"].get("headers", [])
    ]
    assert {route["route"]["timeout"] for route in waits} == {f"{SETTINGS.edge_wait_timeout_s:.3f}s"}
    if path == "/letters":
        assert [route["match"].get("path_separated_prefix") for route in waits] == ["/letters", None]


@pytest.mark.parametrize("path", ["/metrics", "/letters"])
def test_only_what_is_small_whole_and_waits_for_nothing_takes_a_bounded_place(path: str) -> None:
    routes = _tree(render(_mixed(), SETTINGS))[path]["action"]["typed_config"]["routes"]
    waits, small, rest = [one for one in routes if one.get("name") == "router"][:3]
    assert [one["route"]["cluster"] for one in (waits, small, rest)] == ["router", "router-accepts", "router"]
    assert small["match"]["headers"] == [
        {"name": "content-length", "range_match": {"start": 0, "end": SETTINGS.edge_small_body_bytes + 1}}
    ]
    assert _most(small) == SETTINGS.edge_small_body_bytes
    assert (_most(waits), _most(rest)) == (None, None)


def test_the_bounded_places_are_as_many_as_the_settings_say_and_others_have_their_own() -> None:
    settings = SETTINGS.model_copy(update={"edge_router_requests": 20})
    clusters = render((), settings).bootstrap["static_resources"]["clusters"]
    bounds = {one["name"]: one["circuit_breakers"]["thresholds"][0] for one in clusters}
    for name in ("router-accepts", "router-admission"):
        assert (bounds[name]["max_requests"], bounds[name]["max_pending_requests"]) == (20, 20)
    assert bounds["router"]["max_requests"] == 2 * settings.edge_max_connections
    assert ext_authz(settings)["http_service"]["server_uri"]["cluster"] == "router-admission"


def test_the_filters_of_some_products_are_off_for_the_others() -> None:
    manager = render((), SETTINGS).listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]
    off = [one["name"] for one in manager["http_filters"] if one.get("disabled")]
    assert off == [JWT_FILTER, BUFFER_FILTER, EXT_AUTHZ_FILTER, EXT_AUTHZ_ANEW]
    assert [one["name"] for one in manager["http_filters"]][-1] == "envoy.filters.http.router"


def test_a_route_brings_its_own_time_and_size() -> None:
    routes = (Route(path="/{city}", timeout_s=5, max_body_bytes=10), Route(path="/all"))
    found = {
        route["match"]["safe_regex"]["regex"]: route
        for route in _to_backends(render([manifest("w", routes=routes, timeout_s=9)], SETTINGS))
        if "safe_regex" in route["match"]
    }
    assert list(found) == ["/w/all", "/w/[^/]+"]
    assert found["/w/[^/]+"]["route"]["timeout"] == "5.000s"
    assert found["/w/[^/]+"]["typed_per_filter_config"][BUFFER_FILTER]["buffer"] == {"max_request_bytes": 10}
    assert found["/w/all"]["route"]["timeout"] == "9.000s"


def test_a_streaming_backend_has_no_time_limit_and_takes_grpc_over_http2() -> None:
    product = manifest("stream", streaming=True)
    rendered = render([product], SETTINGS)
    assert {route["route"]["timeout"] for route in _to_backends(rendered)} == {"0s"}
    assert tuple(one["name"] for one in rendered.clusters) == backend_cluster_names(product)


def test_a_backend_over_tls_is_verified_by_its_name() -> None:
    addresses = {"api.example.com": ("93.184.215.14",)}
    product = manifest("a", url="https://api.example.com/v1", allow_private=False)
    cluster = render([product], SETTINGS, addresses).clusters[0]
    context = cluster["transport_socket"]["typed_config"]
    names = context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert (context["sni"], names[0]["matcher"]["exact"]) == ("api.example.com", "api.example.com")
    assert _places(cluster) == [("93.184.215.14", 443)]


def test_a_backend_that_may_not_be_private_is_never_looked_up_by_envoy() -> None:
    product = manifest("a", url="http://api.example.com", allow_private=False)
    cluster = render([product], SETTINGS).clusters[0]
    assert (cluster["type"], _places(cluster)) == ("STATIC", [])


def test_new_addresses_change_a_cluster_and_not_its_name_or_the_routes() -> None:
    product = manifest("a", url="http://api.example.com", allow_private=False)
    one, other = (render([product], SETTINGS, {"api.example.com": (ip,)}) for ip in ("8.8.8.8", "9.9.9.9"))
    assert one.clusters != other.clusters
    assert one.routes == other.routes


def test_a_changed_backend_is_another_cluster() -> None:
    one, other = (backend_cluster_names(manifest("a", url=url)) for url in ("http://a/x", "http://a/y"))
    assert one != other


def test_a_name_is_redirected_as_the_operator_says() -> None:
    settings = SETTINGS.model_copy(update={"connect_to": "demo.test:80=127.0.0.1:9000"})
    cluster = render([manifest("a", url="http://demo.test/x", allow_private=False)], settings).clusters[0]
    assert _places(cluster) == [("127.0.0.1", 9000)]


REFUSED = {
    "private address": (manifest("a", url="http://10.0.0.1", allow_private=False), "not a public address"),
    "loopback in IPv6": (manifest("a", url="http://[::1]:1", allow_private=False), "not a public address"),
    "no host": (manifest("a", url="http:///x"), "is not http"),
    "user in the URL": (manifest("a", url="http://u@host/x"), "is not http"),
    "query in the URL": (manifest("a", url="http://host/x?y"), "is not http"),
    "another scheme": (manifest("a", url="ftp://host/x"), "is not http"),
    "the root": (manifest("a", base_path="/"), "base_path '/'"),
    "an end slash": (manifest("a", base_path="/a/"), "base_path '/a/'"),
    "no audience": (manifest("a", jwt=Jwt(issuer="i", audiences=(), jwks=rsa_jwks())), "every token would pass"),
    "no issuer": (manifest("a", jwt=Jwt(issuer="", audiences=("a",), jwks=rsa_jwks())), "every token would pass"),
    "no keys": (manifest("a", mode="async", jwt=Jwt(issuer="i", audiences=("a",))), "is no JWKS"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_closed_with_its_reason(name: str) -> None:
    product, reason = REFUSED[name]
    rendered = render([product, manifest("z")], SETTINGS)
    assert reason in rendered.refused["a"]
    assert "/z" in _tree(rendered)
    closed = _tree(rendered)[product.spec.base_path]["action"]["typed_config"]["routes"][0]
    assert closed["direct_response"] == {"status": 503}


def test_two_products_on_one_base_path_do_not_share_it() -> None:
    rendered = render([manifest("a"), manifest("b", base_path="/a")], SETTINGS)
    assert "the product a's" in rendered.refused["b"]
    assert [one["name"].rsplit("-", 1)[0] for one in rendered.clusters] == ["backend-a"]


def test_the_admin_interface_has_no_tcp_address() -> None:
    assert render((), SETTINGS).bootstrap["admin"]["address"] == {
        "pipe": {"path": "/srv/apx/run/envoy-admin.sock", "mode": 0o600}
    }


def test_spans_go_where_the_settings_say_at_the_given_rate() -> None:
    settings = SETTINGS.model_copy(update={"otlp_endpoint": "http://127.0.0.1:4318", "trace_sample_percent": 5.0})
    rendered = render((), settings)
    tracing = rendered.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]["tracing"]
    assert tracing["random_sampling"] == {"value": 5.0}
    service = tracing["provider"]["typed_config"]["http_service"]
    assert service["http_uri"]["uri"] == "http://127.0.0.1:4318/v1/traces"
    assert "otlp" in [one["name"] for one in rendered.bootstrap["static_resources"]["clusters"]]


def _places(cluster: dict[str, Any]) -> list[tuple[str, int]]:
    addresses = [
        one["endpoint"]["address"]["socket_address"]
        for group in cluster["load_assignment"]["endpoints"]
        for one in group["lb_endpoints"]
    ]
    return [(one["address"], one["port_value"]) for one in addresses]


def _wanted(rendered: Rendered, base_path: str) -> dict[str, list[dict[str, Any]]]:
    """Return the routes of a product with two releases: of the candidate, of the stable one, and before admission."""
    chosen = _tree(rendered)[base_path]["matcher"]
    lists = [rule["on_match"] for rule in chosen["matcher_list"]["matchers"]] + [chosen["on_no_match"]]
    names = ("candidate", "stable", "asked")
    return {name: one["action"]["typed_config"]["routes"] for name, one in zip(names, lists, strict=True)}


def _two(**candidate: Any) -> tuple[Manifest, Manifest]:
    small, large = (Route(path="/a", max_body_bytes=most) for most in (10, 1000))
    return manifest("w", url="http://a", routes=(small,)), manifest(
        "w", **({"url": "http://b", "routes": (large, Route(path="/b", max_body_bytes=20))} | candidate)
    )


def _to(routes: list[dict[str, Any]]) -> set[str]:
    return {one["route"]["cluster"] for one in routes if _leads_to_a_backend(one)}


def _leads_to_a_backend(route: dict[str, Any]) -> bool:
    return str(route.get("route", {}).get("cluster", "router")).partition("-")[0] != "router"


def test_only_what_the_router_has_admitted_to_the_candidate_leads_to_its_backend() -> None:
    stable, candidate = _two()
    found = _wanted(render([(stable, candidate)], SETTINGS), "/w")
    assert {name: _to(routes) for name, routes in found.items()} == {
        "candidate": {backend_cluster_names(candidate)[0]},
        "stable": {backend_cluster_names(stable)[0]},
        "asked": {backend_cluster_names(stable)[0]},
    }
    for route in (one for routes in found.values() for one in routes):
        if _leads_to_a_backend(route):
            assert EXT_AUTHZ_ANEW in route["typed_per_filter_config"]
            assert "x-apx-release" in route["request_headers_to_remove"]


def test_the_release_is_what_chooses_and_the_routers_answer_alone_may_say_it() -> None:
    pair = _two()
    rules = _tree(render([pair], SETTINGS))["/w"]["matcher"]["matcher_list"]["matchers"]
    first = rules[0]["predicate"]["single_predicate"]
    assert first["input"]["typed_config"]["header_name"] == "x-apx-release"
    assert first["value_match"] == {"exact": short(digest(pair[1]))}
    once, anew = (ext_authz(SETTINGS, anew=anew) for anew in (False, True))
    said = [
        one["http_service"]["authorization_response"]["allowed_upstream_headers"]["patterns"] for one in (once, anew)
    ]
    assert said[1] == [*said[0], {"exact": "x-apx-release"}]
    assert (once["clear_route_cache"], anew["clear_route_cache"]) == (False, True)


def test_before_admission_the_larger_body_of_both_arms_passes() -> None:
    found = _wanted(render([_two()], SETTINGS), "/w")
    limits = {name: [_most(route) for route in routes if _most(route)] for name, routes in found.items()}
    assert limits["asked"][0] == 1000
    assert limits["stable"][0] == 10
    assert limits["candidate"][:2] == [1000, 20]


def _most(route: dict[str, Any]) -> int | None:
    """Return what a route to a backend holds back at most."""
    buffer = route.get("typed_per_filter_config", {}).get(BUFFER_FILTER)
    return None if buffer is None else int(buffer["buffer"]["max_request_bytes"])


def test_a_product_without_a_rollout_is_rendered_as_if_there_were_none() -> None:
    plain = render([manifest("a")], SETTINGS)
    beside = render([manifest("a"), _two()], SETTINGS)
    assert _tree(plain)["/a"] == _tree(beside)["/a"]
    assert EXT_AUTHZ_ANEW not in msgspec.json.encode(plain.routes).decode()


def test_two_releases_with_the_same_backend_share_its_cluster() -> None:
    assert len(render([_two(url="http://a")], SETTINGS).clusters) == 1
    assert len(render([_two()], SETTINGS).clusters) == 2


def test_a_step_of_a_rollout_changes_nothing_at_the_edge() -> None:
    [arms] = served(_two())
    assert arms.rollout is not None
    moved = msgspec.structs.replace(arms.rollout, state="canary", step=1, weight_percent=25.0)
    active = msgspec.structs.replace(arms.active, rollout=moved)
    assert render_serving([arms], SETTINGS) == render_serving([dataclasses.replace(arms, active=active)], SETTINGS)


@pytest.mark.parametrize("changed", [{"base_path": "/v"}, {"mode": "async"}, {"jwt": TOKEN}, {"url": "ftp://b"}])
def test_a_candidate_that_cannot_be_served_is_closed_and_holds_up_no_other(changed: dict[str, Any]) -> None:
    stable, candidate = _two(**changed)
    rendered = render([(stable, candidate)], SETTINGS)
    assert list(rendered.refused) == [f"w@{short(digest(candidate))}"]
    found = _wanted(rendered, "/w")
    assert [route["direct_response"] for route in found["candidate"]] == [{"status": 503}]
    assert _to(found["stable"]) == {backend_cluster_names(stable)[0]}
    assert len(rendered.clusters) == 1


def test_an_asynchronous_product_has_one_way_to_the_router_for_both_arms() -> None:
    pair = (manifest("letters", mode="async", jwt=TOKEN), manifest("letters", mode="async", jwt=TOKEN, url="http://b"))
    assert render([pair], SETTINGS).routes == render([pair[0]], SETTINGS).routes
