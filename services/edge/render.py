"""From the active releases to Envoy's configuration. Pure: the same releases and settings give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from apx.errors import ApxError, Unsupported
from apx.release.model import Manifest
from services.edge.bootstrap import bootstrap
from services.edge.clusters import CLUSTER, backend_clusters, jwks_clusters
from services.edge.jwt import JWT_FILTER, jwt_filter
from services.edge.listener import listener
from services.edge.routes import product_routes, route_configuration
from services.edge.settings import EdgeSettings

_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """Envoy's configuration in the parts that are swapped one by one, and what could not be part of it."""

    bootstrap: dict[str, Any]
    listeners: list[dict[str, Any]]
    routes: list[dict[str, Any]]
    clusters: list[dict[str, Any]]
    filters: list[dict[str, Any]]
    refused: dict[str, str] = {}
    """Product → why the edge cannot serve its release; the other products are not held up."""


def render(manifests: Sequence[Manifest], settings: EdgeSettings) -> Rendered:
    """Render the active releases, one for each product."""
    served, refused = _judge(manifests, settings)
    clusters = [c for m in served if m.spec.mode == "sync" for c in backend_clusters(m, settings)]
    clusters += jwks_clusters(served, settings)
    return Rendered(
        bootstrap=bootstrap(settings),
        listeners=[{"@type": _LISTENER, **listener(settings)}],
        routes=[route_configuration(served, settings)],
        clusters=[{"@type": CLUSTER, **cluster} for cluster in clusters],
        filters=[{"@type": _EXTENSION, "name": JWT_FILTER, "typed_config": jwt_filter(served)}],
        refused=refused,
    )


def document(resources: list[dict[str, Any]]) -> bytes:
    """Return a discovery response as canonical JSON."""
    content = {"version_info": version(resources), "resources": resources}
    return msgspec.json.encode(content, order="sorted")


def version(resources: list[dict[str, Any]]) -> str:
    """Return the version of resources: the start of the hash of what they say."""
    return hashlib.sha256(msgspec.json.encode(resources, order="sorted")).hexdigest()[:16]


def _judge(manifests: Sequence[Manifest], settings: EdgeSettings) -> tuple[list[Manifest], dict[str, str]]:
    served: dict[str, Manifest] = {}
    refused: dict[str, str] = {}
    for manifest in sorted(manifests, key=lambda m: m.product):
        try:
            _check(manifest, served)
            product_routes(manifest, settings)
        except (ApxError, ValueError) as error:
            refused[manifest.product] = str(error)
        else:
            served[manifest.spec.base_path] = manifest
    return list(served.values()), refused


def _check(manifest: Manifest, served: dict[str, Manifest]) -> None:
    spec = manifest.spec
    if not spec.base_path.startswith("/") or spec.base_path == "/" or spec.base_path.endswith("/"):
        raise Unsupported(f"{manifest.product}: base_path {spec.base_path!r}: wanted /name, without an end slash")
    if spec.base_path in served:
        raise Unsupported(f"{manifest.product}: {served[spec.base_path].product} has base_path {spec.base_path!r}")
    if spec.auth.jwt is not None and not spec.auth.jwt.audiences:
        raise Unsupported(f"{manifest.product}: auth.jwt.audiences is empty: every token of the issuer would pass")
    if spec.auth.jwt is not None and not (spec.auth.jwt.jwks or spec.auth.jwt.jwks_url):
        raise Unsupported(f"{manifest.product}: auth.jwt has neither jwks nor jwks_url")
