"""Envoy's unified matcher, in the few forms that the routes are chosen by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_TYPE = "type.googleapis.com/"
_ROUTE_LIST = _TYPE + "envoy.config.route.v3.RouteList"
_HEADER_INPUT = _TYPE + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"

Json = dict[str, Any]


def header(name: str) -> Json:
    """Return the input that reads a header field, or a pseudo-header as `:path`."""
    return {"name": name, "typed_config": {"@type": _HEADER_INPUT, "header_name": name}}


def regex(expression: str) -> Json:
    """Return a match of a whole value."""
    return {"safe_regex": {"google_re2": {}, "regex": expression}}


def single(name: str, value: Json) -> Json:
    """Return a predicate over one header field; a field that is not there does not match."""
    return {"single_predicate": {"input": header(name), "value_match": value}}


def rule(predicate: Json, routes: list[Json]) -> Json:
    """Return one row of a list of rules."""
    return {"predicate": predicate, "on_match": route_list("refused", routes)}


def route_list(name: str, routes: Iterable[Json]) -> Json:
    """Return what is done on a match: the first of `routes` that takes the request."""
    return {"action": {"name": name, "typed_config": {"@type": _ROUTE_LIST, "routes": list(routes)}}}
