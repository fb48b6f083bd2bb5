"""What APX reads in an OpenAPI document; its mistakes are in tests/golden/broken/openapi-*."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apx.catalog.load import find_mistakes, load_catalog
from apx.catalog.model import Route
from apx.catalog.openapi.document import BOUNDS, read_openapi
from tests.unit.catalog.broken_trees import GOLDEN, lay_out
from tests.unit.catalog.openapi_documents import body_schema, document, read


def test_the_document_is_part_of_the_catalog_as_json(tmp_path: Path) -> None:
    root = lay_out("openapi-second-file", tmp_path)
    (root / "products/orders/other.yaml").unlink()
    content = load_catalog(root).products["orders"].openapi
    assert content is not None
    assert json.loads(content)["paths"].keys() == {"/", "/{orderId}"}


def test_json_is_read_as_yaml_is() -> None:
    text = '{"openapi": "3.1.0",\n\t"info": {"title": "\\ud83d\\ude00 a\\/b"}}'
    read, mistakes = read_openapi("openapi.json", text.encode())
    assert mistakes == []
    assert read is not None
    assert read.value["info"]["title"] == "😀 a/b"
    assert read.mistake(("info", "title"), "c", "m").line == 2


def test_other_peoples_yaml_is_taken() -> None:
    read, mistakes = read_openapi(
        "openapi.yaml", b"openapi: 3.0\nx: {200: 010, 1e400: 1e400, big: 99999999999999999999}\n"
    )
    assert mistakes == []
    assert read is not None
    assert read.value["x"] == {"200": "010", "1e400": "1e400", "big": 99999999999999999999}


@pytest.mark.parametrize("text", ["x: [{}]", '{{"x": [{}]}}'])
def test_the_number_of_values_is_bounded(text: str) -> None:
    _, mistakes = read_openapi("openapi.yaml", text.format("1," * BOUNDS.most_nodes + "1").encode())
    assert [mistake.code for mistake in mistakes] == ["yaml-too-many-nodes"]


def test_the_size_is_bounded(tmp_path: Path) -> None:
    root = lay_out("openapi-second-file", tmp_path)
    (root / "products/orders/other.yaml").unlink()
    with (root / "products/orders/openapi.yaml").open("a") as file:
        file.write("# " + "x" * 8 * 1_048_576)
    assert [mistake.code for mistake in find_mistakes(root)[1]] == ["openapi-unreadable"]


@pytest.mark.parametrize(
    "raw", [b"\xff", b"", b"[", b"{", b"{}", b"null", b"- a", b"&a [*a]", b"openapi: 3.1.0\npaths: 1"]
)
def test_nothing_that_a_file_holds_raises(tmp_path: Path, raw: bytes) -> None:
    root = lay_out("openapi-second-file", tmp_path)
    (root / "products/orders/other.yaml").unlink()
    (root / "products/orders/openapi.yaml").write_bytes(raw)
    assert find_mistakes(root)[1]


def test_paths_may_be_written_with_the_base_path() -> None:
    whole = document()
    whole["paths"] = {"/orders": whole["paths"]["/"], "/orders/{orderId}": whole["paths"]["/"]}
    operations, told = read(whole, Route(path="/", methods=("POST",)), Route(path="/{id}", methods=("POST",)))
    assert told == []
    assert operations.keys() == {("/", "POST"), ("/{id}", "POST")}


def test_head_is_what_get_is() -> None:
    whole = document()
    whole["paths"]["/"] = {"get": whole["paths"]["/"]["post"]}
    assert read(whole, Route(path="/", methods=("HEAD",)))[1] == []


def test_an_operations_parameter_goes_before_its_paths() -> None:
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer"}}
    whole = document(parameters=[limit | {"required": True}])
    whole["paths"]["/"]["parameters"] = [limit, limit | {"name": "other"}]
    found = read(whole)[0]["/", "POST"].parameters
    assert [(one.name, one.required) for one in found] == [("limit", True), ("other", False)]


def test_cookies_and_headers_of_http_are_not_parameters() -> None:
    schema = {"type": "string"}
    places = [("cookie", "session"), ("header", "Accept"), ("header", "X-Tier")]
    whole = document(parameters=[{"name": name, "in": place, "schema": schema} for place, name in places])
    assert [one.name for one in read(whole)[0]["/", "POST"].parameters] == ["x-tier"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"nullable": True, "not": {"const": 1}}, {"anyOf": [{"type": "null"}, {"not": {"const": 1}}]}),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        ({"type": "string", "format": "date", "example": "x", "x-own": 1, "description": "d"}, {"type": "string"}),
    ],
)
def test_the_dialect_of_3_0_is_translated(old: Any, new: Any) -> None:
    assert body_schema(document(old, version="3.0.3")) == new


def test_in_3_0_nothing_counts_beside_a_reference_and_in_3_1_it_does() -> None:
    schema = {"$ref": "#/components/schemas/A", "minLength": 2}
    assert "minLength" not in body_schema(document(schema, version="3.0.3", schemas={"A": {}}))
    assert "minLength" in body_schema(document(schema, version="3.1.0", schemas={"A": {}}))


def test_what_is_read_only_is_not_required_of_a_request() -> None:
    schema = {
        "required": ["id", "name", "made"],
        "properties": {"id": {"readOnly": True}, "name": {}, "made": {"$ref": "#/components/schemas/Made"}},
    }
    assert body_schema(document(schema, schemas={"Made": {"readOnly": True}}))["required"] == ["name"]


def test_a_schema_that_goes_into_the_value_may_lead_back_to_itself() -> None:
    tree = {"properties": {"children": {"items": {"$ref": "#/components/schemas/Tree"}}}}
    assert read(document({"$ref": "#/components/schemas/Tree"}, schemas={"Tree": tree}))[1] == []


def test_references_are_read_with_their_escapes() -> None:
    whole = document({"$ref": "#/components/schemas/a~1b%20c"}, schemas={"a/b c": {"type": "string"}})
    assert read(whole)[1] == []


def test_what_no_route_stands_for_is_not_held_against_anything() -> None:
    whole = document()
    whole["paths"]["/other"] = {"get": {"parameters": "none"}}
    assert read(whole)[1] == []


def test_a_reference_in_an_example_is_none() -> None:
    whole = document({"example": {"$ref": "https://example.org"}, "properties": {"$ref": {"type": "string"}}})
    assert read(whole)[1] == []


def test_each_kind_of_mistake_has_its_tree() -> None:
    expected = [file.read_text() for file in GOLDEN.glob("broken/openapi-*/expected.txt")]
    told = {line.rpartition("[")[2][:-1] for text in expected for line in text.splitlines()}
    assert told >= {
        *("openapi-unreadable", "openapi-version", "openapi-malformed", "openapi-unsupported", "openapi-parameter"),
        *("openapi-pattern", "openapi-mode-alone", "openapi-route-missing", "openapi-method-missing"),
        *("openapi-ref-remote", "openapi-ref-unknown", "openapi-ref-cycle", "openapi-too-much-work"),
    }


def test_bounds_over_64_bits_are_kept(tmp_path: Path) -> None:
    root = lay_out("openapi-second-file", tmp_path)
    (root / "products/orders/other.yaml").unlink()
    file = root / "products/orders/openapi.yaml"
    file.write_text(file.read_text().replace("type: integer", "type: integer, maximum: 18446744073709551616"))
    assert b"18446744073709551616" in (load_catalog(root).products["orders"].openapi or b"")


def test_numbers_that_no_double_holds_are_refused() -> None:
    _, mistakes = read_openapi("openapi.json", b'{"openapi": "3.1.0", "x": 1e999}')
    assert [mistake.code for mistake in mistakes] == ["json-syntax"]
