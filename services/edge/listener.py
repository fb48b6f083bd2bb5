"""The listener: what every request meets first. It is the same whatever is released, so it is never swapped.

The filters that only some products need are off, and switched on by a route: a request to an asynchronous product
passes the router filter alone.
"""

from __future__ import annotations

from typing import Any

from services.edge.accesslog import access_log
from services.edge.admission import BUFFER_FILTER, EXT_AUTHZ_ANEW, EXT_AUTHZ_FILTER, ext_authz
from services.edge.answerlog import answer_log
from services.edge.jwt import JWT_FILTER
from services.edge.problems import local_replies
from services.edge.settings import EdgeSettings

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_BUFFER = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"
_MUTATION = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_TRACER = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"
_JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"

SPOOFABLE_PREFIXES = ("x-apx-", "x-envoy-", "x-forwarded-")
SPOOFABLE_NAMES = (
    *("x-request-id", "forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip"),
    *("x-original-url", "x-original-path", "x-original-host", "x-rewrite-url", "x-http-method-override"),
)
"""What a client may not say: our own names, Envoy's, and those that backends take for the truth about a request."""
_NO_PEER = {"address_prefix": "255.255.255.255", "prefix_len": 32}
"""The broadcast address: an empty list of internal networks would mean all private ones."""


def listener(settings: EdgeSettings) -> dict[str, Any]:
    """Return the one listener."""
    return {
        "name": "edge",
        "address": _address(settings),
        "per_connection_buffer_limit_bytes": settings.edge_buffer_bytes,
        "socket_options": [{"description": "TCP_NODELAY", "level": 6, "name": 1, "int_value": 1}],
        "filter_chains": [{"name": "http", "filters": [{"name": "hcm", "typed_config": connection_manager(settings)}]}],
    }


def connection_manager(settings: EdgeSettings) -> dict[str, Any]:
    """Return the HTTP connection manager."""
    return {
        "@type": HCM,
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "server_name": "apx",
        "rds": {"route_config_name": "edge", "config_source": from_file(settings, "routes")},
        "http_filters": _filters(settings),
        "access_log": [*access_log(settings), answer_log(settings)],
        "access_log_options": {"flush_log_on_tunnel_successfully_established": True},
        "local_reply_config": local_replies(),
        "early_header_mutation_extensions": [_strip(settings)],
        **_identity(settings),
        **_one_reading(),
        **_limits(settings),
        **_tracing(settings),
    }


def from_file(settings: EdgeSettings, name: str) -> dict[str, Any]:
    """Return a source that Envoy watches: a rename onto the file is taken over at once."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(settings.folder / f"{name}.json")}}


def _address(settings: EdgeSettings) -> dict[str, Any]:
    return {"socket_address": {"address": settings.edge_bind, "port_value": settings.edge_port}}


def _filters(settings: EdgeSettings) -> list[dict[str, Any]]:
    """Return the filters in their order.

    The body is counted before admission: after it, what came meanwhile would have passed the buffer's count already.
    """
    jwt = {"config_source": from_file(settings, "filters"), "type_urls": [_JWT]}
    return [
        {"name": JWT_FILTER, "disabled": True, "config_discovery": jwt},
        {
            "name": BUFFER_FILTER,
            "disabled": True,
            "typed_config": {"@type": _BUFFER, "max_request_bytes": settings.edge_max_body_bytes},
        },
        {"name": EXT_AUTHZ_FILTER, "disabled": True, "typed_config": ext_authz(settings)},
        {"name": EXT_AUTHZ_ANEW, "disabled": True, "typed_config": ext_authz(settings, anew=True)},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": _ROUTER, "suppress_envoy_headers": True, "dynamic_stats": False},
        },
    ]


def _strip(settings: EdgeSettings) -> dict[str, Any]:
    prefixes, names = list(SPOOFABLE_PREFIXES), list(SPOOFABLE_NAMES)
    if settings.edge_xff_hops:  # then our own proxies say it, and Envoy counts from the right
        prefixes.remove("x-forwarded-")
        names += ["x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-server"]
    mutations: list[dict[str, Any]] = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in prefixes]
    mutations += [{"remove": name} for name in names]
    config = {"@type": _MUTATION, "mutations": mutations}
    return {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": config}


def _identity(settings: EdgeSettings) -> dict[str, Any]:
    return {
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.edge_xff_hops,
        "internal_address_config": {"unix_sockets": False, "cidr_ranges": [_NO_PEER]},
        "generate_request_id": True,
        "preserve_external_request_id": False,
        "always_set_request_id_in_response": True,
    }


def _one_reading() -> dict[str, Any]:
    """Leave paths as they come: Envoy would repair `..;`, back-slashes and `%61` unseen; the routes refuse them."""
    return {
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "http_protocol_options": {
            "allow_absolute_url": False,
            "accept_http_10": False,
            "allow_chunked_length": False,
            "override_stream_error_on_invalid_http_message": False,
        },
    }


def _limits(settings: EdgeSettings) -> dict[str, Any]:
    return {
        "max_request_headers_kb": settings.edge_max_header_bytes // 1024,
        "request_headers_timeout": _seconds(settings.edge_headers_timeout_s),
        "request_timeout": _seconds(settings.edge_request_timeout_s),
        "stream_idle_timeout": _seconds(settings.edge_stream_idle_timeout_s),
        "stream_flush_timeout": _seconds(settings.edge_flush_timeout_s),
        "drain_timeout": "5s",
        "delayed_close_timeout": "1s",
        "common_http_protocol_options": {
            "idle_timeout": _seconds(settings.edge_idle_timeout_s),
            "max_headers_count": settings.edge_max_header_count,
            "max_requests_per_connection": settings.edge_max_requests_per_connection,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": settings.edge_max_streams,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
            "allow_connect": False,
            # One bad request ends its stream; a proxy in front may carry other clients on the same connection.
            "override_stream_error_on_invalid_http_message": True,
        },
    }


def _tracing(settings: EdgeSettings) -> dict[str, Any]:
    if not settings.otlp_endpoint:
        return {}
    uri = {"uri": settings.otlp_endpoint.rstrip("/") + "/v1/traces", "cluster": "otlp", "timeout": "2s"}
    tracer = {"@type": _TRACER, "service_name": "apx-edge", "http_service": {"http_uri": uri}}
    return {
        "tracing": {
            "client_sampling": {"value": 0},
            "random_sampling": {"value": settings.trace_sample_percent},
            # The URL's tag would hold the query, and queries hold secrets.
            "max_path_tag_length": 0,
            "custom_tags": [{"tag": "url.path", "value": "%PATH(NQ:PATH)%"}],
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": tracer},
        }
    }


def _seconds(value: float) -> str:
    return f"{value:.3f}s"
