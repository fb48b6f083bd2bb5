"""How Envoy asks the router whether a synchronous request may pass (ext_authz over HTTP).

POST /forecast/paris  ──►  router: POST /-/admit/forecast/paris   (headers, no body)
                             200 + headers for the backend        → proxied, credentials removed
                             4xx + problem+json                   → the client's answer
                             anything else, or silence            → 503

It fails closed: only a well-formed yes lets a request through.
"""

from __future__ import annotations

from typing import Any

from services.edge.clusters import ADMISSION
from services.edge.patterns import none_of
from services.edge.settings import EdgeSettings

EXT_AUTHZ_FILTER = "envoy.filters.http.ext_authz"
EXT_AUTHZ_ANEW = "envoy.filters.http.ext_authz.anew"
"""The same question, after which Envoy chooses the route anew, by `RELEASE_HEADER`: for products with two releases."""
RELEASE_HEADER = "x-apx-release"
BUFFER_FILTER = "envoy.filters.http.buffer"
METADATA = EXT_AUTHZ_FILTER
"""Where the router's `x-apx-*` answers stand for the access log."""
ADMITTED_MARK = "ratelimit"
"""A field that each admission carries; the access log knows admitted requests by it."""
ADMIT_PREFIX = "/-/admit"

_CONFIG = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"

NOT_ASKED = (
    *("connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    *("proxy-connection", "proxy-authorization", "cookie"),
)
"""Request headers that the router does not get: they speak of the connection or the body, which it does not see."""

NOT_FOR_BACKENDS = (
    *("connection", "content-length", "content-type", "date", "keep-alive", "server", "te", "trailer"),
    *("transfer-encoding", "upgrade", "retry-after", "via", "vary", "cache-control", "host"),
)
"""Headers of the router's answer that are about that answer; all others are the policy's, and go to the backend."""
NOT_FOR_BACKENDS_PREFIXES = (":", "x-apx-", "x-envoy-", "ratelimit", "proxy-")


def ext_authz(settings: EdgeSettings, *, anew: bool = False) -> dict[str, Any]:
    """Return the filter's configuration. `anew` lets the router's answer choose the route."""
    release = [{"exact": RELEASE_HEADER}] if anew else []
    timeout = f"{settings.edge_admit_timeout_s:.3f}s"
    return {
        "@type": _CONFIG,
        "transport_api_version": "V3",
        "failure_mode_allow": False,
        "status_on_error": {"code": "ServiceUnavailable"},
        "validate_mutations": True,
        "clear_route_cache": anew,
        "stat_prefix": "admit",
        "allowed_headers": {"patterns": [_regex(none_of(NOT_ASKED))]},
        "http_service": {
            "server_uri": {"uri": "http://router", "cluster": ADMISSION, "timeout": timeout},
            "path_prefix": ADMIT_PREFIX,
            "authorization_response": {
                "allowed_upstream_headers": {
                    "patterns": [_regex(none_of(NOT_FOR_BACKENDS, NOT_FOR_BACKENDS_PREFIXES)), *release]
                },
                "allowed_client_headers_on_success": {
                    "patterns": [{"prefix": "ratelimit"}, {"exact": "retry-after"}],
                },
                "dynamic_metadata_from_headers": {"patterns": [{"prefix": "x-apx-"}, {"exact": ADMITTED_MARK}]},
            },
        },
    }


def _regex(regex: str) -> dict[str, Any]:
    return {"safe_regex": {"regex": regex}}
