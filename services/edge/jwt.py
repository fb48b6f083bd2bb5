"""JSON Web Tokens (RFC 7519): which the edge takes for which product.

Served to Envoy as its own resource, so that a product with a new issuer touches no listener and no connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apx.catalog.model import Jwt
from apx.release.model import Manifest
from services.edge.clusters import jwks_cluster_name
from services.edge.keys import trusted_keys

JWT_FILTER = "envoy.filters.http.jwt_authn"
CLAIMS_HEADER = "x-apx-jwt-payload"
_CONFIG = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_SKEW_S = 30


def jwt_filter(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Return the filter's configuration for all products that ask for a token."""
    asked = {m.product: m.spec.auth.jwt for m in manifests if m.spec.auth.jwt is not None}
    return {
        "@type": _CONFIG,
        "providers": {product: _provider(jwt) for product, jwt in asked.items()},
        "requirement_map": {product: {"provider_name": product} for product in asked},
        "strip_failure_response": True,
    }


def _provider(jwt: Jwt) -> dict[str, Any]:
    return {
        "issuer": jwt.issuer,
        "audiences": list(jwt.audiences),
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "forward": False,
        "forward_payload_header": CLAIMS_HEADER,
        "clock_skew_seconds": _SKEW_S,
        "require_expiration": True,
        **_keys(jwt),
    }


def _keys(jwt: Jwt) -> dict[str, Any]:
    if jwt.jwks_url is None:
        return {"local_jwks": {"inline_string": trusted_keys(jwt.jwks or "")}}
    return {
        "remote_jwks": {
            "http_uri": {"uri": jwt.jwks_url, "cluster": jwks_cluster_name(jwt.jwks_url), "timeout": "5s"},
            "cache_duration": "300s",
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "30s"},
            "retry_policy": {"num_retries": 2},
        }
    }
