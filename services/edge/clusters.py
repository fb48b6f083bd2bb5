"""Where requests go: the router's socket, each synchronous product's backend, each issuer's keys.

A cluster's name carries a hash of what it says, so that a changed backend is a new cluster: requests under the old
route end on the old one, and no request sees half of each.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from apx.backends.http.connect_to import parse_connect_to
from apx.release.model import Manifest
from services.edge.settings import EdgeSettings

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTER = "router"
_HTTP_NAME = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_PORTS = {"http": 80, "https": 443}


class Target(msgspec.Struct, frozen=True):
    """A URL, taken apart."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Return what the Host header says: without the scheme's own port (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def target(url: str) -> Target:
    """Take a URL apart. Raises `ValueError` when it is not an http(s) URL of a host."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not http(s)://host[:port][/path]")
    return Target(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def backend_clusters(manifest: Manifest, settings: EdgeSettings) -> list[dict[str, Any]]:
    """Return the clusters of a synchronous product: HTTP/1.1, and HTTP/2 where the backend streams (gRPC)."""
    backend = manifest.spec.backend
    where = target(backend.url)
    plain = _cluster(where, settings, connect_timeout_s=backend.connect_timeout_s, most=backend.concurrency)
    clusters = [plain]
    if backend.streaming:
        clusters.append(_with_http2(plain))
    return [{**cluster, "name": _hashed(f"backend-{manifest.product}", cluster)} for cluster in clusters]


def jwks_clusters(manifests: Sequence[Manifest], settings: EdgeSettings) -> list[dict[str, Any]]:
    """Return one cluster for each origin that keys are fetched from."""
    urls = {m.spec.auth.jwt.jwks_url for m in manifests if m.spec.auth.jwt is not None} - {None}
    found = {
        jwks_cluster_name(url): _cluster(target(url), settings, connect_timeout_s=2.0, most=16)
        for url in sorted(filter(None, urls))
    }
    return [{**cluster, "name": name} for name, cluster in found.items()]


def jwks_cluster_name(url: str) -> str:
    """Return the name of the cluster that a JWKS URL is fetched through."""
    where = target(url)
    return _hashed("jwks", [where.scheme, where.host, where.port])


def router_cluster(settings: EdgeSettings) -> dict[str, Any]:
    """Return the router's cluster: HTTP/1.1 over its Unix socket."""
    most = settings.edge_max_connections * 2
    return {
        "name": ROUTER,
        "type": "STATIC",
        "connect_timeout": "0.250s",
        "load_assignment": _assignment(ROUTER, {"pipe": {"path": str(settings.router_path)}}),
        "circuit_breakers": _breakers(most),
        "typed_extension_protocol_options": _protocol({"explicit_http_config": {"http_protocol_options": {}}}),
    }


def otlp_cluster(settings: EdgeSettings) -> dict[str, Any]:
    """Return the cluster that spans go to."""
    cluster = _cluster(target(settings.otlp_endpoint), settings, connect_timeout_s=1.0, most=16)
    return {**cluster, "name": "otlp"}


def _cluster(where: Target, settings: EdgeSettings, *, connect_timeout_s: float, most: int) -> dict[str, Any]:
    host, port = parse_connect_to(settings.connect_to).get((where.host, where.port), (where.host, where.port))
    cluster: dict[str, Any] = {
        "type": "STATIC" if _is_address(host) else "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": f"{connect_timeout_s:.3f}s",
        "load_assignment": _assignment(where.authority, {"socket_address": {"address": host, "port_value": port}}),
        "circuit_breakers": _breakers(most),
        "typed_extension_protocol_options": _protocol({"explicit_http_config": {"http_protocol_options": {}}}),
    }
    if where.scheme == "https":
        cluster["transport_socket"] = _tls(where.host, settings)
    return cluster


def _with_http2(cluster: dict[str, Any]) -> dict[str, Any]:
    options = _protocol({"explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 100}}})
    other = {**cluster, "typed_extension_protocol_options": options}
    if "transport_socket" in cluster:
        socket = cluster["transport_socket"]
        context = socket["typed_config"]
        common = {**context["common_tls_context"], "alpn_protocols": ["h2"]}
        other["transport_socket"] = {**socket, "typed_config": {**context, "common_tls_context": common}}
    return other


def _assignment(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _breakers(most: int) -> dict[str, Any]:
    limits = {"max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": 3}
    return {"thresholds": [limits]}


def _protocol(http: dict[str, Any]) -> dict[str, Any]:
    common = {"idle_timeout": "30s"}
    options = {"@type": f"type.googleapis.com/{_HTTP_NAME}", "common_http_protocol_options": common, **http}
    return {_HTTP_NAME: options}


def _tls(host: str, settings: EdgeSettings) -> dict[str, Any]:
    context = {
        "@type": _TLS,
        "sni": host,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["http/1.1"],
            "validation_context": {
                "trusted_ca": {"filename": str(settings.ca_file)},
                "match_typed_subject_alt_names": [_san(host)],
            },
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _san(host: str) -> dict[str, Any]:
    return {"san_type": "IP_ADDRESS" if _is_address(host) else "DNS", "matcher": {"exact": host}}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _hashed(prefix: str, content: object) -> str:
    return f"{prefix}-{hashlib.sha256(msgspec.json.encode(content, order='sorted')).hexdigest()[:12]}"
