from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from apx.admission.routes import BasePaths, Match, MethodNotAllowed, RouteTree
from apx.catalog.model import Route


def tree(*templates: str) -> RouteTree:
    return RouteTree(Route(path=template, methods=("GET",)) for template in templates)


def taken(routes: RouteTree, path: str, method: str = "GET") -> tuple[str, dict[str, str]] | None:
    found = routes.match(method, path)
    return (found.route.path, found.params) if isinstance(found, Match) else None


def test_a_literal_wins_over_a_parameter() -> None:
    assert taken(tree("/{id}", "/open"), "/open") == ("/open", {})


def test_a_parameter_wins_over_the_rest() -> None:
    assert taken(tree("/{rest=**}", "/{id}"), "/7") == ("/{id}", {"id": "7"})


def test_a_literal_that_leads_nowhere_gives_way_to_a_parameter() -> None:
    assert taken(tree("/open/lines", "/{id}/notes"), "/open/notes") == ("/{id}/notes", {"id": "open"})


def test_a_parameter_that_leads_nowhere_gives_way_to_the_rest() -> None:
    assert taken(tree("/{id}/lines", "/{rest=**}"), "/7/notes/1") == ("/{rest=**}", {"rest": "7/notes/1"})


def test_the_rest_begins_where_it_stands() -> None:
    assert taken(tree("/files/{name=**}"), "/files/a/b/c") == ("/files/{name=**}", {"name": "a/b/c"})


def test_the_rest_is_at_least_one_segment() -> None:
    assert taken(tree("/{rest=**}"), "/") is None


def test_a_parameter_is_never_empty() -> None:
    assert taken(tree("/{id}"), "/7/") is None


def test_a_slash_at_the_end_is_another_path() -> None:
    assert taken(tree("/open"), "/open/") is None


def test_several_parameters_are_named_in_order() -> None:
    assert taken(tree("/{order}/lines/{line}"), "/7/lines/2") == ("/{order}/lines/{line}", {"order": "7", "line": "2"})


def test_the_percent_encoding_of_a_parameter_is_kept() -> None:
    assert taken(tree("/{id}"), "/a%20b") == ("/{id}", {"id": "a%20b"})


def test_literals_are_compared_by_case() -> None:
    assert taken(tree("/Open"), "/open") is None


def test_routes_of_the_same_shape_differ_by_method_and_keep_their_own_names() -> None:
    routes = RouteTree([Route(path="/{id}", methods=("GET",)), Route(path="/{name}", methods=("PUT",))])
    assert taken(routes, "/7", "PUT") == ("/{name}", {"name": "7"})


def test_another_method_is_told_which_ones_there_are() -> None:
    routes = RouteTree([Route(path="/{id}", methods=("PUT", "GET")), Route(path="/{name}", methods=("DELETE",))])
    assert routes.match("POST", "/7") == MethodNotAllowed(("DELETE", "GET", "PUT"))


def test_the_most_specific_template_decides_about_the_methods() -> None:
    routes = RouteTree([Route(path="/open", methods=("GET",)), Route(path="/{id}", methods=("POST",))])
    assert routes.match("POST", "/open") == MethodNotAllowed(("GET",))


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "", "PATCH"])
def test_a_method_that_is_not_listed_is_never_taken(method: str) -> None:
    assert tree("/").match(method, "/") == MethodNotAllowed(("GET",))


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_are_taken_where_they_are_listed(method: str) -> None:
    assert isinstance(RouteTree([Route(path="/", methods=("HEAD", "OPTIONS"))]).match(method, "/"), Match)


def test_a_path_of_no_route_is_nothing() -> None:
    assert tree("/open").match("GET", "/closed") is None


BASES = BasePaths([("/orders", "orders"), ("/a/b", "nested"), ("/a/c/d", "deeper")])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/orders", ("orders", "/")),
        ("/orders/", ("orders", "/")),
        ("/orders/7/lines", ("orders", "/7/lines")),
        ("/ordersx", None),
        ("/order", None),
        ("/Orders", None),
        ("/", None),
        ("/a", None),
        ("/a/", None),
        ("/a/b", ("nested", "/")),
        ("/a/b/c", ("nested", "/c")),
        ("/a/bc", None),
        ("/a/c", None),
        ("/a/c/d", ("deeper", "/")),
        ("/a/c/d/e", ("deeper", "/e")),
        ("/x/orders", None),
    ],
)
def test_a_base_path_ends_at_a_segment(path: str, found: tuple[str, str] | None) -> None:
    assert BASES.find(path) == found


def test_nothing_serves_when_there_are_no_products() -> None:
    assert BasePaths[str](()).find("/orders") is None


def lines_run(work: Callable[[], Any]) -> int:
    """Count the lines of Python that `work` runs: a cost that no other process disturbs."""
    count = 0

    def trace(_: FrameType, event: str, __: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()  # what others have asked to be called with a collection is no cost of ours
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def test_ten_thousand_products_cost_what_ten_cost() -> None:
    few = BasePaths((f"/p{n}", n) for n in range(10))
    many = BasePaths((f"/p{n}", n) for n in range(10_000))
    assert lines_run(lambda: many.find("/p7/a/b")) <= 1.1 * lines_run(lambda: few.find("/p7/a/b"))


def test_a_thousand_routes_cost_what_ten_cost() -> None:
    few, many = tree(*(f"/r{n}/{{id}}" for n in range(10))), tree(*(f"/r{n}/{{id}}" for n in range(1000)))
    assert lines_run(lambda: many.match("GET", "/r7/1")) <= 1.1 * lines_run(lambda: few.match("GET", "/r7/1"))


def test_backtracking_visits_each_node_of_the_tree_once_at_most() -> None:
    choices = ["a", "{p}"]
    paths = [
        f"/{one}/{two}/{three}/{four}/end"
        for one in choices
        for two in choices
        for three in choices
        for four in choices
    ]
    routes = tree(*paths)
    assert lines_run(lambda: routes.match("GET", "/a/a/a/a/nowhere")) < 2000
