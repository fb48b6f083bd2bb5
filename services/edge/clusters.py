"""Where requests go: the router's socket, each synchronous product's backend, each issuer's keys.

A cluster's name carries a hash of what the release says of it, so that a changed backend is a new cluster: requests
under the old route end on the old one, and no request sees half of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from apx.backends.http.connect_to import parse_connect_to
from apx.catalog.addresses import is_public
from apx.catalog.model import Backend
from apx.release.model import Manifest
from services.edge.addresses import Addresses, is_address
from services.edge.settings import EdgeSettings
from services.edge.targets import Target, target

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTER = "router"
"""The router for whoever may stay long: to wait, to follow events, to send a large body."""
ACCEPTS = "router-accepts"
"""The same router for what is whole and asks for work at once: bounded, since all of it is under way."""
ADMISSION = "router-admission"
"""The same router for the question whether a synchronous request may pass; bounded alike, and apart."""
_HTTP_NAME = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP1: dict[str, Any] = {"http_protocol_options": {}}
_HTTP2: dict[str, Any] = {"http2_protocol_options": {"max_concurrent_streams": 100}}


def backend_cluster_names(manifest: Manifest) -> tuple[str, str]:
    """Return the names of a synchronous product's clusters: for HTTP/1.1, and for gRPC over HTTP/2."""
    name = _hashed(f"backend-{manifest.product}", manifest.spec.backend)
    return name, f"{name}-h2"


def backend_clusters(manifest: Manifest, settings: EdgeSettings, addresses: Addresses) -> list[dict[str, Any]]:
    """Return the clusters of a synchronous product; the second only where the backend streams (gRPC)."""
    backend = manifest.spec.backend
    name, name_h2 = backend_cluster_names(manifest)
    where = _where(target(backend.url), settings, None if backend.allow_private else addresses)
    clusters = [_backend(name, backend, where, settings, _HTTP1)]
    if backend.streaming:
        clusters.append(_backend(name_h2, backend, where, settings, _HTTP2))
    return clusters


def jwks_clusters(manifests: Sequence[Manifest], settings: EdgeSettings, addresses: Addresses) -> list[dict[str, Any]]:
    """Return one cluster for each origin that keys are fetched from."""
    urls = {m.spec.auth.jwt.jwks_url for m in manifests if m.spec.auth.jwt is not None and m.spec.auth.jwt.jwks_url}
    return [
        _cluster(name, target(url), _where(target(url), settings, addresses), settings)
        for name, url in sorted({jwks_cluster_name(url): url for url in urls}.items())
    ]


def jwks_cluster_name(url: str) -> str:
    """Return the name of the cluster that a JWKS URL is fetched through."""
    where = target(url)
    return _hashed("jwks", [where.scheme, where.host, where.port])


def router_clusters(settings: EdgeSettings) -> list[dict[str, Any]]:
    """Return the router's clusters: HTTP/1.1 over its Unix socket, each with a bound of its own."""
    bounds = {ROUTER: settings.edge_max_connections * 2} | dict.fromkeys(
        (ACCEPTS, ADMISSION), settings.edge_router_requests
    )
    return [_router(name, most, settings) for name, most in bounds.items()]


def _router(name: str, most: int, settings: EdgeSettings) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.250s",
        "load_assignment": _assignment(name, [{"pipe": {"path": str(settings.router_path)}}]),
        "circuit_breakers": _breakers(most),
        "typed_extension_protocol_options": _protocol(_HTTP1),
    }


def otlp_cluster(settings: EdgeSettings) -> dict[str, Any]:
    """Return the cluster that spans go to."""
    where = target(settings.otlp_endpoint)
    return _cluster("otlp", where, _where(where, settings, None), settings)


class _Where(msgspec.Struct, frozen=True):
    """Places to connect to, and whether Envoy looks them up by itself."""

    places: tuple[tuple[str, int], ...]
    by_name: bool


def _where(to: Target, settings: EdgeSettings, addresses: Addresses | None) -> _Where:
    """Return where a target is. With `addresses` only those, or an address that is public. Raises `ValueError`.

    An entry of `connect_to` is the operator's own word and is not judged.
    """
    redirected = parse_connect_to(settings.connect_to).get((to.host, to.port))
    if redirected is not None:
        return _Where((redirected,), by_name=not is_address(redirected[0]))
    if addresses is None:
        return _Where(((to.host, to.port),), by_name=not is_address(to.host))
    if not is_address(to.host):
        return _Where(tuple((address, to.port) for address in addresses.get(to.host, ())), by_name=False)
    if not is_public(to.host):
        raise ValueError(f"{to.host} is not a public address, and allow_private is not set")
    return _Where(((to.host, to.port),), by_name=False)


def _backend(
    name: str, backend: Backend, where: _Where, settings: EdgeSettings, http: dict[str, Any]
) -> dict[str, Any]:
    connect_s, most = backend.connect_timeout_s, backend.concurrency
    return _cluster(name, target(backend.url), where, settings, connect_s=connect_s, most=most, http=http)


def _cluster(
    name: str,
    to: Target,
    where: _Where,
    settings: EdgeSettings,
    *,
    connect_s: float = 2.0,
    most: int = 16,
    http: dict[str, Any] | None = None,
) -> dict[str, Any]:
    places = [{"socket_address": {"address": host, "port_value": port}} for host, port in where.places]
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STRICT_DNS" if where.by_name else "STATIC",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": f"{connect_s:.3f}s",
        "load_assignment": _assignment(name, places),
        "circuit_breakers": _breakers(most),
        "typed_extension_protocol_options": _protocol(http or _HTTP1),
    }
    if to.scheme == "https":
        cluster["transport_socket"] = _tls(to.host, settings, "h2" if http is _HTTP2 else "http/1.1")
    return cluster


def _assignment(name: str, places: list[dict[str, Any]]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": place}} for place in places]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}] if endpoints else []}


def _breakers(most: int) -> dict[str, Any]:
    limits = {"max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": 3}
    return {"thresholds": [limits]}


def _protocol(http: dict[str, Any]) -> dict[str, Any]:
    options = {
        "@type": f"type.googleapis.com/{_HTTP_NAME}",
        "common_http_protocol_options": {"idle_timeout": "30s"},
        "explicit_http_config": http,
    }
    return {_HTTP_NAME: options}


def _tls(host: str, settings: EdgeSettings, protocol: str) -> dict[str, Any]:
    name = {"san_type": "IP_ADDRESS" if is_address(host) else "DNS", "matcher": {"exact": host}}
    validation = {"trusted_ca": {"filename": str(settings.ca_file)}, "match_typed_subject_alt_names": [name]}
    context = {
        "@type": _TLS,
        **({} if is_address(host) else {"sni": host}),
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": [protocol],
            "validation_context": validation,
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _hashed(prefix: str, content: object) -> str:
    return f"{prefix}-{hashlib.sha256(msgspec.json.encode(content, order='sorted')).hexdigest()[:12]}"
