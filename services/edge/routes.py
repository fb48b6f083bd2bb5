"""Routes: everything goes to the router, except what a synchronous product takes straight to its backend.

canonical? ──no──► 400        TRACE? ──► 405
    │
trie of base paths (the cost does not grow with the number of products)
    ├─ /-/ and /metrics      → 404, they are nobody's
    ├─ /v1/requests          → router, without a time limit (event streams)
    ├─ a synchronous product → admission, then its backend
    ├─ a product with JWT    → the token, then as above or the router
    └─ no match              → router (asynchronous products; it answers 404 for what it does not know)

The router has a bounded cluster for what it works on at once, and another for who may stay (`clusters.py`).

Whatever goes to a backend has admission switched on in the same place where its cluster is named (`proxied.py`). A
product with two releases has routes for both, of which admission chooses (`side_by_side.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.edge.admission import BUFFER_FILTER
from services.edge.clusters import ACCEPTS, ROUTER
from services.edge.matchers import header, regex, route_list, rule, single
from services.edge.pairs import Pair
from services.edge.patterns import CANONICAL_TARGET, COMPACT_JWS, JWS_WITH_CRIT, ONE_HOST
from services.edge.proxied import BUFFER, answer, jwt_of, sync_routes, too_large
from services.edge.settings import EdgeSettings
from services.edge.side_by_side import side_by_side

ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

Json = dict[str, Any]


def route_configuration(pairs: Sequence[Pair], settings: EdgeSettings, closed: Sequence[str] = ()) -> Json:
    """Return the one route configuration; what lies under a `closed` base path is answered with 503."""
    return {
        "@type": ROUTES,
        "name": "edge",
        "virtual_hosts": [{"name": "apx", "domains": ["*"], "matcher": _matcher(pairs, settings, closed)}],
    }


def _product(pair: Pair, settings: EdgeSettings, default: list[Json]) -> Json | None:
    """Return what is done under a product's base path; None when the router serves it without the edge's help."""
    spec = pair.stable.spec
    tokens = _no_token(spec.base_path) if spec.auth.jwt is not None else []
    if spec.mode == "sync" and pair.candidate is not None:
        return side_by_side(pair, tokens, default, settings)
    if spec.mode == "sync":
        routes = sync_routes(pair.stable, settings)
    elif spec.auth.jwt is not None:
        routes = _to_router({"path_separated_prefix": spec.base_path}, settings, jwt_of(pair.stable))
    else:
        return None
    return route_list(pair.stable.product, [*tokens, *routes, *default])


def _no_token(base_path: str) -> list[Json]:
    """Answer 401 to what is no token by its form: Envoy would take the first of two, and look past `crit`."""
    form = {"name": "authorization", "string_match": {"safe_regex": {"regex": COMPACT_JWS}}, "invert_match": True}
    crit = {"name": "authorization", "string_match": {"safe_regex": {"regex": JWS_WITH_CRIT}}}
    under = {"path_separated_prefix": base_path}
    return [{"match": {**under, "headers": [one]}, **answer(401)} for one in (form, crit)]


def _matcher(pairs: Sequence[Pair], settings: EdgeSettings, closed: Sequence[str]) -> Json:
    refusals = [
        rule({"not_matcher": single(":path", regex(CANONICAL_TARGET))}, [_everything(400)]),
        rule({"not_matcher": single(":authority", regex(ONE_HOST))}, [_everything(400)]),
        rule(single(":method", {"exact": "TRACE"}), [_everything(405)]),
    ]
    tree = {"input": header(":path"), "prefix_match_map": {"map": _tree(pairs, settings, closed)}}
    rest = {"matcher_tree": tree, "on_no_match": route_list("router", _default(settings))}
    return {"matcher_list": {"matchers": refusals}, "on_no_match": {"matcher": rest}}


def _tree(pairs: Sequence[Pair], settings: EdgeSettings, closed: Sequence[str]) -> Json:
    default = _default(settings)
    nobody = [{"match": {"path_separated_prefix": "/metrics"}, **answer(404)}, *default]
    requests = [_router_route({"path_separated_prefix": "/v1/requests"}, timeout_s=0)]
    tree = {
        "/-/": route_list("internal", [_everything(404)]),
        "/metrics": route_list("metrics", nobody),
        "/v1/requests": route_list("requests", [*requests, *default]),
    }
    for base_path in closed:
        shut = {"match": {"path_separated_prefix": base_path}, **answer(503)}
        tree[base_path] = route_list("closed", [shut, *default])
    for pair in pairs:
        if (found := _product(pair, settings, default)) is not None:
            tree[pair.stable.spec.base_path] = found
    return tree


def _default(settings: EdgeSettings) -> list[Json]:
    anywhere = {"prefix": "/"}
    return [too_large(anywhere, settings.edge_max_body_bytes), *_to_router(anywhere, settings)]


def _to_router(match: Json, settings: EdgeSettings, filters: Json | None = None) -> list[Json]:
    """Return the routes of what the router answers: for callers that are ready to wait, for small bodies, for the rest.

    A small body is held back until it is whole, so that a slow sender takes up none of the bounded places.
    """
    small = settings.edge_small_body_bytes
    length = {"name": "content-length", "range_match": {"start": 0, "end": small + 1}}
    whole = {BUFFER_FILTER: {"@type": BUFFER, "buffer": {"max_request_bytes": small}}, **(filters or {})}
    timeout_s = settings.edge_router_timeout_s
    return [
        _router_route(_with(match, _present("prefer")), timeout_s=settings.edge_wait_timeout_s, filters=filters),
        _router_route(_with(match, length), timeout_s=timeout_s, filters=whole, cluster=ACCEPTS),
        _router_route(match, timeout_s=timeout_s, filters=filters),
    ]


def _router_route(match: Json, *, timeout_s: float, filters: Json | None = None, cluster: str = ROUTER) -> Json:
    route: Json = {"match": match, "name": ROUTER, "route": {"cluster": cluster, "timeout": f"{timeout_s:.3f}s"}}
    if filters:
        route["typed_per_filter_config"] = filters
    return route


def _with(match: Json, header: Json) -> Json:
    return {**match, "headers": [*match.get("headers", []), header]}


def _everything(status: int) -> Json:
    return {"match": {"prefix": ""}, **answer(status)}


def _present(name: str) -> Json:
    return {"name": name, "present_match": True}
