"""Two releases of a synchronous product behind one base path: who serves is known once the router has admitted.

    no x-apx-release       → before admission: one set of routes, wide enough for both arms
    x-apx-release is N's   → the candidate's routes, its backend
    another x-apx-release  → the stable release's

Envoy chooses the route anew after admission (`clear_route_cache`). The field is the router's: from clients it is taken
away before the first choice. It names the release and not the arm alone, so that an edge that is behind or ahead of the
router never sends one candidate's requests to another's backend; what it does not know the stable release serves.
"""

from __future__ import annotations

from typing import Any

from apx.release.model import Manifest
from services.edge.admission import EXT_AUTHZ_ANEW, EXT_AUTHZ_FILTER, RELEASE_HEADER
from services.edge.clusters import backend_cluster_names
from services.edge.matchers import regex, route_list, rule, single
from services.edge.pairs import Pair
from services.edge.proxied import GRPC, WEBSOCKET, answer, longest_idle_s, proxied, sync_routes, too_large
from services.edge.settings import EdgeSettings

CANDIDATE_MARK = "@candidate"
"""What the name of each of the candidate's routes ends with, for the logs."""

Json = dict[str, Any]


def side_by_side(pair: Pair, first: list[Json], rest: list[Json], settings: EdgeSettings) -> Json:
    """Return what is done under the base path of a product with two releases.

    `first` are the routes that are tried before admission, `rest` what takes a path that only looks like the product's.
    """
    rules = [
        rule(single(RELEASE_HEADER, {"exact": pair.release}), _candidate(pair, settings)),
        rule(single(RELEASE_HEADER, regex(".+")), _of_arm(pair, pair.stable, settings)),
    ]
    before = [*first, *_anew(_before_admission(pair, settings), pair.stable.product), *rest]
    return {"matcher": {"matcher_list": {"matchers": rules}, "on_no_match": route_list("asked", before)}}


def _candidate(pair: Pair, settings: EdgeSettings) -> list[Json]:
    if pair.candidate is None or pair.candidate_closed:
        return [{"match": {"prefix": ""}, **answer(503), "name": pair.stable.product + CANDIDATE_MARK}]
    return _of_arm(pair, pair.candidate, settings, CANDIDATE_MARK)


def _of_arm(pair: Pair, manifest: Manifest, settings: EdgeSettings, mark: str = "") -> list[Json]:
    """Return the routes of one arm. What was not held back before admission is not sent to whom it is too much for."""
    routes = sync_routes(manifest, settings)
    if _streams(pair) and not manifest.spec.backend.streaming:
        undeclared = {"name": "content-length", "present_match": False}
        match = {"path_separated_prefix": manifest.spec.base_path, "headers": [GRPC, undeclared]}
        routes = [{"match": match, **answer(413)}, *routes]
    return _anew(routes, manifest.product + mark)


def _before_admission(pair: Pair, settings: EdgeSettings) -> list[Json]:
    """Return routes that ask for admission; the stable release's backend is named, and is used by nobody.

    Envoy counts a body by the first route alone, so the bound here is the largest of both arms. Once the body is whole
    its length is known, and the arm's own routes answer 413 by it. The idle time is the first route's for good, so it
    is the longest of both; what a request may take as a whole is the arm's own.
    """
    under = {"path_separated_prefix": pair.stable.spec.base_path}
    cluster, _ = backend_cluster_names(pair.stable)
    websocket, grpc = ({**under, "headers": [header]} for header in (WEBSOCKET, GRPC))
    most = max(
        (route.max_body_bytes for one in pair.manifests for route in one.spec.routes),
        default=settings.edge_max_body_bytes,
    )
    idle_s = max(longest_idle_s(manifest, settings) for manifest in pair.manifests)
    ordinary = proxied(pair.stable, under, cluster, settings, most=most)
    return [
        proxied(pair.stable, websocket, cluster, settings, streaming=True, upgrade=True),
        *([proxied(pair.stable, grpc, cluster, settings, streaming=True)] if _streams(pair) else []),
        too_large(under, most),
        {**ordinary, "route": {**ordinary["route"], "idle_timeout": f"{idle_s:.3f}s"}},
    ]


def _streams(pair: Pair) -> bool:
    return any(manifest.spec.backend.streaming for manifest in pair.manifests)


def _anew(routes: list[Json], name: str) -> list[Json]:
    """Let admission choose the route anew, and take away what it is chosen by."""
    return [_chosen_anew(route, name) if "route" in route else route for route in routes]


def _chosen_anew(route: Json, name: str) -> Json:
    filters = {
        EXT_AUTHZ_ANEW if filter_name == EXT_AUTHZ_FILTER else filter_name: config
        for filter_name, config in route["typed_per_filter_config"].items()
    }
    hidden = [*route["request_headers_to_remove"], RELEASE_HEADER]
    return {**route, "name": name, "typed_per_filter_config": filters, "request_headers_to_remove": hidden}
