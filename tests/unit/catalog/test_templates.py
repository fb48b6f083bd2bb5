from __future__ import annotations

from collections.abc import Sequence

import pytest

from apx.catalog.model import Route
from apx.catalog.templates import ambiguous, parameters, repeated_parameter


def clashes(*routes: tuple[str, Sequence[str]]) -> list[tuple[int, int, str]]:
    return list(ambiguous([Route(path=path, methods=tuple(methods)) for path, methods in routes]))


def test_parameters_are_named_in_order() -> None:
    assert parameters("/{order_id}/lines/{line}/{rest=**}") == ["order_id", "line", "rest"]


def test_a_name_used_twice_is_found() -> None:
    assert repeated_parameter("/{id}/lines/{id}") == "id"
    assert repeated_parameter("/{id}/lines/{line}") is None


@pytest.mark.parametrize(
    ("more_specific", "less_specific"),
    [
        ("/all", "/{id}"),
        ("/{id}", "/{rest=**}"),
        ("/{id}/lines", "/{id}/{part}"),
        ("/a/{x}/c", "/{y}/b/c"),
        ("/", "/{id}"),
    ],
)
def test_a_more_specific_template_wins_wherever_it_stands(more_specific: str, less_specific: str) -> None:
    assert clashes((less_specific, ["GET"]), (more_specific, ["GET"])) == []


def test_templates_alike_but_for_their_names_are_ambiguous() -> None:
    assert clashes(("/{id}", ["GET", "PUT"]), ("/{name}", ["PUT"])) == [(1, 0, "PUT")]


def test_templates_alike_with_different_methods_are_not() -> None:
    assert clashes(("/{id}", ["GET"]), ("/{name}", ["PUT"])) == []


def test_a_rest_is_not_a_single_segment() -> None:
    assert clashes(("/{id}", ["GET"]), ("/{rest=**}", ["GET"])) == []


def test_each_ambiguous_route_is_named_once() -> None:
    same = ("/{id}", ["GET", "PUT"])
    assert clashes(same, same, same) == [(1, 0, "GET"), (2, 0, "GET")]
