"""Routes: everything goes to the router, except what a synchronous product takes straight to its backend.

canonical? ──no──► 400        TRACE? ──► 405
    │
trie of base paths (the cost does not grow with the number of products)
    ├─ /-/ and /metrics      → 404, they are nobody's
    ├─ /v1/requests          → router, without a time limit (event streams)
    ├─ a synchronous product → admission, then its backend
    ├─ a product with JWT    → the token, then as above or the router
    └─ no match              → router (asynchronous products; it answers 404 for what it does not know)

Whatever goes to a backend has admission switched on in the same place where its cluster is named (`_proxied`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from apx.catalog.model import Route
from apx.release.model import Manifest
from services.edge.admission import BUFFER_FILTER, EXT_AUTHZ_FILTER
from services.edge.clusters import ROUTER, backend_cluster_names
from services.edge.jwt import CLAIMS_HEADER, JWT_FILTER
from services.edge.patterns import CANONICAL_TARGET, COMPACT_JWS, JWS_WITH_CRIT, ONE_HOST, route_regex
from services.edge.settings import EdgeSettings
from services.edge.targets import target

_TYPE = "type.googleapis.com/"
ROUTES = _TYPE + "envoy.config.route.v3.RouteConfiguration"
_ROUTE_LIST = _TYPE + "envoy.config.route.v3.RouteList"
_HEADER_INPUT = _TYPE + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_ON = {"@type": _TYPE + "envoy.config.route.v3.FilterConfig", "config": {}}
_BUFFER = _TYPE + "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
_JWT = _TYPE + "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
_MOST = 2**63 - 1

CREDENTIALS = ("authorization", "x-api-key", "apx-arm", CLAIMS_HEADER, "x-envoy-external-address")
"""What a backend never gets."""
_SAFE_TO_REPEAT = "GET|HEAD|OPTIONS|PUT|DELETE"

Json = dict[str, Any]


def route_configuration(manifests: Sequence[Manifest], settings: EdgeSettings, closed: Sequence[str] = ()) -> Json:
    """Return the one route configuration; what lies under a `closed` base path is answered with 503."""
    return {
        "@type": ROUTES,
        "name": "edge",
        "virtual_hosts": [{"name": "apx", "domains": ["*"], "matcher": _matcher(manifests, settings, closed)}],
    }


def product_routes(manifest: Manifest, settings: EdgeSettings) -> list[Json]:
    """Return the routes of one product under its base path; none when the router serves it without the edge's help."""
    spec = manifest.spec
    if spec.mode == "sync":
        routes = _sync_routes(manifest, settings)
    elif spec.auth.jwt is not None:
        routes = _to_router({"path_separated_prefix": spec.base_path}, settings, _jwt(manifest))
    else:
        return []
    return [*(_no_token(spec.base_path) if spec.auth.jwt is not None else []), *routes]


def _no_token(base_path: str) -> list[Json]:
    """Answer 401 to what is no token by its form: Envoy would take the first of two, and look past `crit`."""
    form = {"name": "authorization", "string_match": {"safe_regex": {"regex": COMPACT_JWS}}, "invert_match": True}
    crit = {"name": "authorization", "string_match": {"safe_regex": {"regex": JWS_WITH_CRIT}}}
    under = {"path_separated_prefix": base_path}
    return [{"match": {**under, "headers": [header]}, **_answer(401)} for header in (form, crit)]


def _matcher(manifests: Sequence[Manifest], settings: EdgeSettings, closed: Sequence[str]) -> Json:
    refusals = [
        _rule({"not_matcher": _single(":path", _re2(CANONICAL_TARGET))}, [_everything(400)]),
        _rule({"not_matcher": _single(":authority", _re2(ONE_HOST))}, [_everything(400)]),
        _rule(_single(":method", {"exact": "TRACE"}), [_everything(405)]),
    ]
    tree = {"input": _input(":path"), "prefix_match_map": {"map": _tree(manifests, settings, closed)}}
    rest = {"matcher_tree": tree, "on_no_match": _list("router", _default(settings))}
    return {"matcher_list": {"matchers": refusals}, "on_no_match": {"matcher": rest}}


def _tree(manifests: Sequence[Manifest], settings: EdgeSettings, closed: Sequence[str]) -> Json:
    default = _default(settings)
    nobody = [{"match": {"path_separated_prefix": "/metrics"}, **_answer(404)}, *default]
    requests = [_router_route({"path_separated_prefix": "/v1/requests"}, timeout_s=0)]
    tree = {
        "/-/": _list("internal", [_everything(404)]),
        "/metrics": _list("metrics", nobody),
        "/v1/requests": _list("requests", [*requests, *default]),
    }
    for base_path in closed:
        shut = {"match": {"path_separated_prefix": base_path}, **_answer(503)}
        tree[base_path] = _list("closed", [shut, *default])
    for manifest in manifests:
        if routes := product_routes(manifest, settings):
            tree[manifest.spec.base_path] = _list(manifest.product, [*routes, *default])
    return tree


def _default(settings: EdgeSettings) -> list[Json]:
    anywhere = {"prefix": "/"}
    return [_too_large(anywhere, settings.edge_max_body_bytes), *_to_router(anywhere, settings)]


def _to_router(match: Json, settings: EdgeSettings, filters: Json | None = None) -> list[Json]:
    """Return the routes of what the router answers: one for callers that are ready to wait, one for the others."""
    waits = {**match, "headers": [_present("prefer")]}
    return [
        _router_route(waits, timeout_s=settings.edge_wait_timeout_s, filters=filters),
        _router_route(match, timeout_s=settings.edge_router_timeout_s, filters=filters),
    ]


def _router_route(match: Json, *, timeout_s: float, filters: Json | None = None) -> Json:
    route: Json = {"match": match, "name": ROUTER, "route": {"cluster": ROUTER, "timeout": f"{timeout_s:.3f}s"}}
    if filters:
        route["typed_per_filter_config"] = filters
    return route


def _sync_routes(manifest: Manifest, settings: EdgeSettings) -> list[Json]:
    spec = manifest.spec
    names = backend_cluster_names(manifest)
    under = {"path_separated_prefix": spec.base_path}
    websocket = {**under, "headers": [{"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}]}
    routes = [_proxied(manifest, websocket, names[0], settings, streaming=True, upgrade=True)]
    if spec.backend.streaming:
        grpc = {**under, "headers": [{"name": "content-type", "string_match": {"prefix": "application/grpc"}}]}
        routes.append(_proxied(manifest, grpc, names[1], settings, streaming=True))
    for route in sorted(spec.routes, key=_specific):
        match = {"safe_regex": {"regex": route_regex(spec.base_path, route.path)}}
        routes.append(_too_large(match, route.max_body_bytes))
        routes.append(_proxied(manifest, match, names[0], settings, route=route))
    # What no template takes: admission answers it with 404 or 405, in the same words as for every product.
    return [*routes, _proxied(manifest, under, names[0], settings)]


def _specific(route: Route) -> list[tuple[int, str]]:
    """Order templates as the router prefers them: a literal, then `{name}`, then `{name=**}`."""
    return [
        (2 if part.endswith("=**}") else 1 if part.startswith("{") else 0, part) for part in route.path.split("/")[1:]
    ]


def _proxied(
    manifest: Manifest,
    match: Json,
    cluster: str,
    settings: EdgeSettings,
    *,
    route: Route | None = None,
    streaming: bool = False,
    upgrade: bool = False,
) -> Json:
    backend = manifest.spec.backend
    where = target(backend.url)
    streams = streaming or backend.streaming
    timeout_s = (route.timeout_s if route else None) or backend.timeout_s
    idle_s = settings.edge_tunnel_idle_timeout_s if streams else max(timeout_s, settings.edge_stream_idle_timeout_s)
    action: Json = {
        "cluster": cluster,
        "timeout": "0s" if streams else f"{timeout_s:.3f}s",
        "idle_timeout": f"{idle_s:.3f}s",
        "host_rewrite_literal": where.authority,
        "regex_rewrite": {
            "pattern": {"regex": f"^{re.escape(manifest.spec.base_path)}/?"},
            "substitution": where.path.replace("\\", "\\\\") + "/",
        },
        "retry_policy": _retry(),
    }
    if upgrade:
        action["upgrade_configs"] = [{"upgrade_type": "websocket", "enabled": True}]
    filters: Json = {EXT_AUTHZ_FILTER: _ON, **_jwt(manifest)}
    if not streaming:
        most = route.max_body_bytes if route else settings.edge_max_body_bytes
        filters[BUFFER_FILTER] = {"@type": _BUFFER, "buffer": {"max_request_bytes": most}}
    return {
        "match": match,
        "name": manifest.product,
        "route": action,
        "typed_per_filter_config": filters,
        "request_headers_to_remove": list(CREDENTIALS),
        "request_headers_to_add": [_set(name, value) for name, value in sorted(backend.headers.items())],
    }


def _jwt(manifest: Manifest) -> Json:
    if manifest.spec.auth.jwt is None:
        return {}
    return {JWT_FILTER: {"@type": _JWT, "requirement_name": manifest.product}}


def _retry() -> Json:
    """Repeat once what never reached the backend, and only where repeating is safe by definition (RFC 9110, 9.2.2)."""
    method = {"name": ":method", "string_match": {"safe_regex": {"regex": _SAFE_TO_REPEAT}}}
    return {"retry_on": "connect-failure", "num_retries": 1, "retriable_request_headers": [method]}


def _set(name: str, value: str) -> Json:
    header = {"key": name, "value": value.replace("%", "%%")}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _too_large(match: Json, most: int) -> Json:
    """Answer 413 from the length that a request declares; without one the bytes are counted as they come."""
    length = {"name": "content-length", "range_match": {"start": most + 1, "end": _MOST}}
    return {"match": {**match, "headers": [*match.get("headers", []), length]}, **_answer(413)}


def _everything(status: int) -> Json:
    return {"match": {"prefix": ""}, **_answer(status)}


def _answer(status: int) -> Json:
    return {"direct_response": {"status": status}, "name": f"edge-{status}"}


def _present(name: str) -> Json:
    return {"name": name, "present_match": True}


def _input(header: str) -> Json:
    return {"name": header, "typed_config": {"@type": _HEADER_INPUT, "header_name": header}}


def _re2(regex: str) -> Json:
    return {"safe_regex": {"google_re2": {}, "regex": regex}}


def _single(header: str, value: Json) -> Json:
    return {"single_predicate": {"input": _input(header), "value_match": value}}


def _rule(predicate: Json, routes: list[Json]) -> Json:
    return {"predicate": predicate, "on_match": _list("refused", routes)}


def _list(name: str, routes: Iterable[Json]) -> Json:
    return {"action": {"name": name, "typed_config": {"@type": _ROUTE_LIST, "routes": list(routes)}}}
