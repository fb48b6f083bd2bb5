"""What Envoy is started with: where its other files are, the router, what it may use of the machine."""

from __future__ import annotations

from typing import Any

from services.edge.clusters import otlp_cluster, router_clusters
from services.edge.listener import from_file
from services.edge.settings import EdgeSettings

_TYPE = "type.googleapis.com/envoy.extensions.resource_monitors."
_HEAP = _TYPE + "fixed_heap.v3.FixedHeapConfig"
_CONNECTIONS = _TYPE + "downstream_connections.v3.DownstreamConnectionsConfig"


def bootstrap(settings: EdgeSettings) -> dict[str, Any]:
    """Return the bootstrap."""
    return {
        "node": {"id": "edge", "cluster": "apx-edge"},
        "admin": {"address": {"pipe": {"path": str(settings.admin_path), "mode": 0o600}}},
        "static_resources": {"clusters": static_clusters(settings)},
        "dynamic_resources": {
            "lds_config": from_file(settings, "listeners"),
            "cds_config": from_file(settings, "clusters"),
        },
        **process(settings),
    }


def static_clusters(settings: EdgeSettings) -> list[dict[str, Any]]:
    """Return the clusters that are there whatever is released."""
    return [*router_clusters(settings), *([otlp_cluster(settings)] if settings.otlp_endpoint else [])]


def process(settings: EdgeSettings) -> dict[str, Any]:
    """Return what holds for the process whatever it serves."""
    return {
        "overload_manager": _overload(settings),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _RUNTIME}]},
        "stats_config": {"stats_matcher": {"exclusion_list": {"patterns": _UNWANTED_STATS}}},
    }


_RUNTIME = {
    # A client that resets streams as fast as it opens them (CVE-2023-44487) is cut off.
    "overload.premature_reset_total_stream_count": 200,
    "overload.premature_reset_min_stream_lifetime_seconds": 1,
    "http.max_requests_per_io_cycle": 20,
    # Our expressions are our own; the limit is for those of strangers.
    "re2.max_program_size.error_level": 100_000,
    "re2.max_program_size.warn_level": 100_000,
}

_UNWANTED_STATS = [
    {"safe_regex": {"regex": regex}}
    for regex in (
        r"cluster\.backend-.*\.(?:ssl|circuit_breakers|update_|lb_|upstream_flow|upstream_cx_(?:rx|tx|protocol|http|idle|max|none|pool)).*",
        r"cluster\.backend-.*\.(?:internal|external)\..*",
        r".*\.ssl\.(?:ciphers|curves|sigalgs|versions)\..*",
    )
]


def _overload(settings: EdgeSettings) -> dict[str, Any]:
    heap = {"@type": _HEAP, "max_heap_size_bytes": settings.edge_heap_bytes}
    connections = {"@type": _CONNECTIONS, "max_active_downstream_connections": settings.edge_max_connections}
    return {
        # From 2^20 bytes on a request's buffers are counted, so that the largest can be dropped first.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "refresh_interval": "0.250s",
        "resource_monitors": [
            {"name": "envoy.resource_monitors.fixed_heap", "typed_config": heap},
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections},
        ],
        "actions": [
            _when("envoy.overload_actions.shrink_heap", 0.90),
            _when("envoy.overload_actions.disable_http_keepalive", 0.92),
            _growing("envoy.overload_actions.reset_high_memory_stream", 0.92, 0.98),
            _when("envoy.overload_actions.stop_accepting_requests", 0.95),
            _when("envoy.overload_actions.stop_accepting_connections", 0.98),
        ],
    }


def _when(action: str, heap: float) -> dict[str, Any]:
    trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": heap}}
    return {"name": action, "triggers": [trigger]}


def _growing(action: str, start: float, full: float) -> dict[str, Any]:
    scaled = {"scaling_threshold": start, "saturation_threshold": full}
    return {"name": action, "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "scaled": scaled}]}
