"""What a cluster would take for a product, a plan or an org, and what `apx validate` takes, are the same."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.catalog.load import load_catalog
from checks import crds
from checks.crds import KINDS, Kind, made, main, structural
from tests.unit.catalog.broken_trees import NAMES, lay_out
from tests.unit.catalog.conftest import EXAMPLE
from tests.unit.catalog.test_schemas import EXAMPLES, FILES, TEXTS, VALUES, documents, editor_takes, places
from tests.unit.checks.structural import Schema, defaulted, server, violations

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.singular)


def committed(name: str) -> Any:
    return yaml.safe_load((EXAMPLE / "crds" / f"{name}s.yaml").read_text())


def schema_of(name: str) -> Schema:
    schema: Schema = committed(name)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def said(tree: Path) -> list[dict[str, Any]]:
    catalog = load_catalog(tree)
    return [{name: one.spec for name, one in of.items()} for of in (catalog.products, catalog.plans, catalog.orgs)]


SERVERS = {kind.singular: server(schema_of(kind.singular)) for kind in KINDS}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with schemas and definitions alone."""
    for folder in ("schemas", "crds"):
        shutil.copytree(EXAMPLE / folder, tmp_path / "gitops" / folder)
    monkeypatch.setattr(crds, "ROOT", tmp_path)
    return tmp_path


def test_the_definitions_in_the_tree_are_those_that_the_schemas_make() -> None:
    assert main([]) == 0, "to accept: python -m checks.crds --write"


def test_a_definition_that_differs_is_told_with_the_command_that_renews_it(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkout / "gitops" / "crds" / "plans.yaml"
    path.write_text(path.read_text().replace("maximum: 100\n", "maximum: 99\n"))
    (path.parent / "teams.yaml").touch()
    assert main([]) == 1
    said = "not what the schemas make; run `python -m checks.crds --write`\n"
    assert capsys.readouterr().out == f"gitops/crds/plans.yaml: {said}gitops/crds/teams.yaml: {said}"


def test_what_was_written_is_what_would_be_written(checkout: Path) -> None:
    shutil.rmtree(checkout / "gitops" / "crds")
    assert main([]) == 1
    main(["--write"])
    first = {path.name: path.read_text() for path in (checkout / "gitops" / "crds").iterdir()}
    main(["--write"])
    assert {path.name: text for path, text in made(checkout / "gitops").items()} == first
    assert main([]) == 0


@each_kind
def test_each_definition_has_the_schema_that_its_modeline_names(kind: Kind) -> None:
    jsonschema.validate(committed(kind.singular), json.loads((EXAMPLE / "schemas" / "crd.json").read_text()))


@each_kind
def test_each_definition_is_named_as_the_api_server_asks(kind: Kind) -> None:
    definition = committed(kind.singular)
    names, group = definition["spec"]["names"], definition["spec"]["group"]
    assert definition["metadata"]["name"] == f"{names['plural']}.{group}"
    assert names["plural"] == names["kind"].lower() + "s"
    assert f"{group}/{definition['spec']['versions'][0]['name']}" == "apx.dev/v1"
    assert "subresources" not in definition["spec"]["versions"][0]


@each_kind
def test_each_column_shows_a_field_of_its_type(kind: Kind) -> None:
    for column in kind.columns:
        node = schema_of(kind.singular)
        for step in column.path.split(".")[1:]:
            node = node["properties"][step]
        assert node["type"] == column.type


@each_kind
def test_each_schema_is_structural(kind: Kind) -> None:
    assert list(violations(schema_of(kind.singular))) == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, ": no type"),
        ({"type": "object", "properties": {"a": {"pattern": "b"}}}, ".a: no type"),
        ({"type": "null"}, ": type 'null'"),
        ({"type": "array"}, ": no items"),
        ({"type": "object", "$ref": "#/x"}, ": $ref is not supported"),
        ({"type": "object", "propertyNames": {}}, ": propertyNames is unknown"),
        ({"type": "object", "additionalProperties": False}, ": additionalProperties is false"),
        (
            {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
            ": properties beside additionalProperties",
        ),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ": uniqueItems is true"),
        ({"type": "number", "exclusiveMinimum": 0}, ": exclusiveMinimum is no truth value"),
        ({"type": "string", "pattern": "a(?!b)"}, ": RE2 does not know the pattern"),
        ({"type": "integer", "maximum": 3, "default": 4}, ": the default is not taken"),
        ({"type": "object", "allOf": [{"properties": {"foo": {}}}]}, ".allOf.foo: not said outside"),
        ({"type": "object", "anyOf": [{"description": "a"}]}, ".anyOf: description stands inside"),
        (
            {
                "type": "object",
                "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
            },
            ".metadata: more than name and generateName",
        ),
    ],
)
def test_the_verifier_finds_what_is_not_structural(schema: Schema, said: str) -> None:
    assert list(violations(schema)) == [said]


def test_what_has_no_translation_is_not_left_out_in_silence() -> None:
    with pytest.raises(ValueError, match="'dependentRequired'"):
        structural({"type": "object", "dependentRequired": {}}, {})
    with pytest.raises(ValueError, match="a type in each node"):
        structural({"enum": [1, "a"]}, {})


def test_a_cluster_takes_the_example() -> None:
    for kind, document in EXAMPLES:
        assert list(SERVERS[kind].iter_errors(document.value)) == []


def test_a_cluster_takes_what_only_a_cluster_says_of_a_resource() -> None:
    for kind, document in EXAMPLES:
        metadata = document.value["metadata"] | {"namespace": "shop", "labels": {"team": "commerce"}}
        assert SERVERS[kind].is_valid(document.value | {"metadata": metadata})


@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_refuses_in_each_broken_tree_what_editors_refuse(name: str, tmp_path: Path) -> None:
    for kind, document in documents(lay_out(name, tmp_path)):
        assert SERVERS[kind].is_valid(document.value) == editor_takes(kind, document.value), document.file


@settings(deadline=None)
@given(st.data())
def test_a_cluster_and_editors_agree_on_any_change_of_a_spec(data: st.DataObject) -> None:
    kind, document = data.draw(st.sampled_from(EXAMPLES))
    changed = copy.deepcopy(document.value)
    around: Any = changed["spec"]
    *above, last = data.draw(st.sampled_from(places(around)))
    for step in above:
        around = around[step]
    if data.draw(st.booleans()) or isinstance(around, list):
        around[last] = data.draw(VALUES)
    else:
        around[data.draw(TEXTS)] = around.pop(last)
    assert SERVERS[kind].is_valid(changed) == editor_takes(kind, changed)


def test_a_tree_that_comes_back_from_a_cluster_says_what_it_said_before(tmp_path: Path) -> None:
    """The server writes defaults into what it keeps."""
    tree = Path(shutil.copytree(EXAMPLE, tmp_path / "gitops"))
    written = 0
    for kind, pattern in FILES.items():
        for file in tree.glob(pattern):
            (document,) = (d for k, d in EXAMPLES if k == kind and d.file.endswith(str(file.relative_to(tree))))
            filled = defaulted(document.value, schema_of(kind))
            written += filled != document.value
            file.write_text(f"{file.read_text().partition(chr(10))[0]}\n{json.dumps(filled)}\n")
    assert written > 0
    assert said(tree) == said(EXAMPLE)
