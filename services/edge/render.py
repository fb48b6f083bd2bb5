"""From the active releases to Envoy's configuration. Pure: the same releases and settings give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from apx.errors import ApxError, Unsupported
from apx.release.model import Manifest
from apx.rollout.arms import Arms
from services.edge.addresses import Addresses
from services.edge.bootstrap import bootstrap
from services.edge.clusters import CLUSTER, backend_clusters, jwks_clusters
from services.edge.jwt import JWT_FILTER, jwt_filter
from services.edge.keys import trusted_keys
from services.edge.listener import listener
from services.edge.pairs import Pair, pair_of
from services.edge.routes import route_configuration
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
    """Product → why the edge cannot serve its release; the other products are not held up. A candidate that it cannot
    serve stands under `product@release`."""


def render(serving: Sequence[Arms[Manifest]], settings: EdgeSettings, addresses: Addresses | None = None) -> Rendered:
    """Render what is live of each product: one release, during a rollout two.

    `addresses` says where the names of backends lead that may not be private; without it such a backend is nowhere.
    """
    judged = _judge([pair_of(arms) for arms in serving], settings, addresses or {})
    served = [pair.stable for pair in judged.served]
    clusters = [*judged.clusters.values(), *jwks_clusters(served, settings, addresses or {})]
    closed = [manifest.spec.base_path for manifest in judged.closed]
    return Rendered(
        bootstrap=bootstrap(settings),
        listeners=[{"@type": _LISTENER, **listener(settings)}],
        routes=[route_configuration(judged.served, settings, closed)],
        clusters=[{"@type": CLUSTER, **cluster} for cluster in clusters],
        filters=[{"@type": _EXTENSION, "name": JWT_FILTER, "typed_config": jwt_filter(served)}],
        refused=judged.reasons,
    )


def document(resources: list[dict[str, Any]]) -> bytes:
    """Return a discovery response as canonical JSON."""
    content = {"version_info": version(resources), "resources": resources}
    return msgspec.json.encode(content, order="sorted")


def version(resources: list[dict[str, Any]]) -> str:
    """Return the version of resources: the start of the hash of what they say."""
    return hashlib.sha256(msgspec.json.encode(resources, order="sorted")).hexdigest()[:16]


class _Judged(msgspec.Struct, frozen=True):
    served: list[Pair]
    clusters: dict[str, dict[str, Any]]
    """By name: two releases with the same backend share one."""
    closed: list[Manifest]
    reasons: dict[str, str]


def _judge(pairs: Sequence[Pair], settings: EdgeSettings, addresses: Addresses) -> _Judged:
    judged = _Judged([], {}, [], {})
    taken: dict[str, str] = {}
    for pair in sorted(pairs, key=lambda one: one.stable.product):
        manifest = pair.stable
        try:
            _check(manifest, taken)
            clusters = _clusters(manifest, settings, addresses)
            jwks_clusters([manifest], settings, addresses)
        except (ApxError, ValueError) as error:
            judged.closed.append(manifest)
            judged.reasons[manifest.product] = str(error)
        else:
            taken[manifest.spec.base_path] = manifest.product
            judged.clusters.update(clusters)
            judged.served.append(_with_candidate(pair, judged, settings, addresses))
    return judged


def _with_candidate(pair: Pair, judged: _Judged, settings: EdgeSettings, addresses: Addresses) -> Pair:
    """Return the pair as it can be served: a candidate that cannot be holds up no org but its own."""
    if pair.candidate is None:
        return pair
    try:
        clusters = _clusters(pair.candidate, settings, addresses)
    except (ApxError, ValueError) as error:
        pair = msgspec.structs.replace(pair, candidate_closed=str(error))
    if pair.candidate_closed:
        judged.reasons[f"{pair.stable.product}@{pair.release}"] = pair.candidate_closed
    else:
        judged.clusters.update(clusters)
    return pair


def _clusters(manifest: Manifest, settings: EdgeSettings, addresses: Addresses) -> dict[str, dict[str, Any]]:
    found = backend_clusters(manifest, settings, addresses) if manifest.spec.mode == "sync" else []
    return {cluster["name"]: cluster for cluster in found}


def _check(manifest: Manifest, taken: dict[str, str]) -> None:
    spec = manifest.spec
    if not spec.base_path.startswith("/") or spec.base_path.endswith("/"):
        raise Unsupported(f"base_path {spec.base_path!r}: wanted /name, without an end slash")
    if spec.base_path in taken:
        raise Unsupported(f"base_path {spec.base_path!r} is the product {taken[spec.base_path]}'s")
    jwt = spec.auth.jwt
    if jwt is not None and not (jwt.issuer and jwt.audiences):
        raise Unsupported("auth.jwt: without an issuer and an audience every token would pass")
    if jwt is not None and jwt.jwks_url is None:
        trusted_keys(jwt.jwks or "")
