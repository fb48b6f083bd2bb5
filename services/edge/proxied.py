"""Routes of synchronous products: each asks for admission where it names its backend (`proxied`)."""

from __future__ import annotations

import re
from typing import Any

from apx.catalog.model import Route
from apx.release.model import Manifest
from services.edge.admission import BUFFER_FILTER, EXT_AUTHZ_FILTER
from services.edge.clusters import backend_cluster_names
from services.edge.jwt import CLAIMS_HEADER, JWT_FILTER
from services.edge.patterns import route_regex
from services.edge.settings import EdgeSettings
from services.edge.targets import target

_TYPE = "type.googleapis.com/"
_ON = {"@type": _TYPE + "envoy.config.route.v3.FilterConfig", "config": {}}
BUFFER = _TYPE + "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
_JWT = _TYPE + "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
_MOST = 2**63 - 1

CREDENTIALS = ("authorization", "x-api-key", "apx-arm", CLAIMS_HEADER, "x-envoy-external-address")
"""What a backend never gets."""
WEBSOCKET = {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}
GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
_SAFE_TO_REPEAT = "GET|HEAD|OPTIONS|PUT|DELETE"

Json = dict[str, Any]


def sync_routes(manifest: Manifest, settings: EdgeSettings) -> list[Json]:
    """Return the routes of one release under its base path."""
    spec = manifest.spec
    names = backend_cluster_names(manifest)
    under = {"path_separated_prefix": spec.base_path}
    websocket = {**under, "headers": [WEBSOCKET]}
    routes = [proxied(manifest, websocket, names[0], settings, streaming=True, upgrade=True)]
    if spec.backend.streaming:
        grpc = {**under, "headers": [GRPC]}
        routes.append(proxied(manifest, grpc, names[1], settings, streaming=True))
    for route in sorted(spec.routes, key=_specific):
        match = {"safe_regex": {"regex": route_regex(spec.base_path, route.path)}}
        routes.append(too_large(match, route.max_body_bytes))
        routes.append(proxied(manifest, match, names[0], settings, route=route))
    # What no template takes: admission answers it with 404 or 405, in the same words as for every product.
    return [*routes, proxied(manifest, under, names[0], settings)]


def _specific(route: Route) -> list[tuple[int, str]]:
    """Order templates as the router prefers them: a literal, then `{name}`, then `{name=**}`."""
    return [
        (2 if part.endswith("=**}") else 1 if part.startswith("{") else 0, part) for part in route.path.split("/")[1:]
    ]


def proxied(
    manifest: Manifest,
    match: Json,
    cluster: str,
    settings: EdgeSettings,
    *,
    route: Route | None = None,
    streaming: bool = False,
    upgrade: bool = False,
    most: int | None = None,
) -> Json:
    """Return a route to a backend's cluster.

    `streaming` passes the body as it comes; else it is held back until it is whole and within the route's limit, or
    within `most` bytes.
    """
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
    filters: Json = {EXT_AUTHZ_FILTER: _ON, **jwt_of(manifest)}
    if not streaming:
        most = most or (route.max_body_bytes if route else settings.edge_max_body_bytes)
        filters[BUFFER_FILTER] = {"@type": BUFFER, "buffer": {"max_request_bytes": most}}
    return {
        "match": match,
        "name": manifest.product,
        "route": action,
        "typed_per_filter_config": filters,
        "request_headers_to_remove": list(CREDENTIALS),
        "request_headers_to_add": [_set(name, value) for name, value in sorted(backend.headers.items())],
    }


def longest_idle_s(manifest: Manifest, settings: EdgeSettings) -> float:
    """Return how long nothing may move on the most patient of a release's routes that are no tunnels, in seconds."""
    backend = manifest.spec.backend
    if backend.streaming:
        return settings.edge_tunnel_idle_timeout_s
    own = (route.timeout_s or 0.0 for route in manifest.spec.routes)
    return max(backend.timeout_s, settings.edge_stream_idle_timeout_s, *own)


def jwt_of(manifest: Manifest) -> Json:
    """Return what switches the check of tokens on, where a product asks for them."""
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


def too_large(match: Json, most: int) -> Json:
    """Answer 413 from the length that a request declares; without one the bytes are counted as they come."""
    length = {"name": "content-length", "range_match": {"start": most + 1, "end": _MOST}}
    return {"match": {**match, "headers": [*match.get("headers", []), length]}, **answer(413)}


def answer(status: int) -> Json:
    """Return what makes a route answer by itself."""
    return {"direct_response": {"status": status}, "name": f"edge-{status}"}
