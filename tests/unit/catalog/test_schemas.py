"""The schemas that editors use and the structs that load say the same."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.catalog.document import Document, read_document
from apx.catalog.resources import OrgResource, PlanResource, ProductResource
from apx.catalog.schema import as_text, schema_of
from apx.catalog.structure import structure
from apx.catalog.tree import read_tree
from tests.unit.catalog.broken_trees import NAMES, lay_out
from tests.unit.catalog.conftest import EXAMPLE

KINDS: dict[str, Any] = {"product": ProductResource, "plan": PlanResource, "org": OrgResource}
FILES = {"product": "products/*/product.yaml", "plan": "plans/*.yaml", "org": "orgs/*.yaml"}


def editors_schema(kind: str) -> Any:
    return json.loads((EXAMPLE / "schemas" / f"{kind}.json").read_text())


def editor_takes(kind: str, value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(editors_schema(kind)).is_valid(value))


def loader_takes(kind: str, value: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    document = Document("file", text, value, has_null="null" in text)
    return not structure(document, KINDS[kind]).mistakes


def documents(root: Path) -> list[tuple[str, Document]]:
    tree = read_tree(root)
    found = [("product", tree.products), ("plan", tree.plans), ("org", tree.orgs)]
    read = [(kind, read_document(*source)[0]) for kind, sources in found for source in sources.values() if source]
    return [(kind, document) for kind, document in read if document]


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_in_the_tree_is_the_one_that_the_structs_make(kind: str) -> None:
    text = (EXAMPLE / "schemas" / f"{kind}.json").read_text()
    assert text == as_text(KINDS[kind]), "to accept: python -m apx.catalog.schema gitops/schemas"


@pytest.mark.parametrize("name", [*KINDS, "policy-input", "crd"])
def test_each_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(editors_schema(name))


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_has_a_text_for_editors_and_no_object_takes_more_fields(kind: str) -> None:
    schema = schema_of(KINDS[kind])
    for definition in [schema, *schema["$defs"].values()]:
        assert definition["additionalProperties"] is False
        assert all(field["description"] for field in definition["properties"].values())


def test_each_file_of_the_example_names_its_schema_in_its_first_line() -> None:
    for kind, pattern in FILES.items():
        for file in EXAMPLE.glob(pattern):
            named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", file.read_text().splitlines()[0])
            assert named
            assert (file.parent / named[1]).resolve() == EXAMPLE / "schemas" / f"{kind}.json"


def test_no_yaml_file_of_the_example_stands_elsewhere() -> None:
    known = {file for pattern in (*FILES.values(), "crds/*.yaml") for file in EXAMPLE.glob(pattern)}
    assert {file for suffix in ("yaml", "yml") for file in EXAMPLE.rglob(f"*.{suffix}")} == known


def test_editors_take_the_example() -> None:
    for kind, document in documents(EXAMPLE):
        assert editor_takes(kind, document.value)


def test_a_file_reads_to_editors_as_it_reads_to_the_loader() -> None:
    for kind, document in documents(EXAMPLE):
        for file in EXAMPLE.glob(FILES[kind]):
            if document.value["metadata"]["name"] in {file.stem, file.parent.name}:
                # PyYAML reads `on` as true, as YAML 1.1 has it; nothing else in the example differs.
                assert yaml.safe_load(file.read_text().replace(" on:", ' "on":')) == document.value


@pytest.mark.parametrize("name", NAMES)
def test_editors_refuse_in_each_broken_tree_what_the_loader_refuses(name: str, tmp_path: Path) -> None:
    for kind, document in documents(lay_out(name, tmp_path)):
        structural = structure(document, KINDS[kind]).mistakes
        assert editor_takes(kind, document.value) == (not structural), document.file


TEXTS = st.text("abzAZ09 -_/.{}=*@é", max_size=10)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    st.sampled_from(
        [0, 1, -1, 100, 86_400, 86_401, 0.5, 99.99, "", " ", "a", "A", "a\n", "/", "/a", "/a/", "GET", "free"]
    ),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["path", "a", "url", "A"]), inner, max_size=3)
    ),
    max_leaves=5,
)
EXAMPLES = documents(EXAMPLE)


def places(value: Any) -> list[list[Any]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for step, inner in below for path in ([step], *([step, *rest] for rest in places(inner)))]


@settings(deadline=None)
@given(st.data())
def test_editors_and_loader_agree_on_any_change_of_an_example(data: st.DataObject) -> None:
    kind, document = data.draw(st.sampled_from(EXAMPLES))
    changed = copy.deepcopy(document.value)
    *above, last = data.draw(st.sampled_from(places(changed)))
    around = changed
    for step in above:
        around = around[step]
    if data.draw(st.booleans()) or isinstance(around, list):
        around[last] = data.draw(VALUES)
    else:
        around[data.draw(TEXTS)] = around.pop(last)
    assert loader_takes(kind, changed) == editor_takes(kind, changed)


INPUT = {
    "org": "acme",
    "region": "us",
    "product": "orders",
    "plan": "enterprise",
    "key": {"id": "k1"},
    "request": {
        "method": "GET",
        "route": "/{order_id}",
        "path": "/o-1",
        "params": {"order_id": "o-1"},
        "query": {"expand": ["lines", "customer"]},
        "headers": {"accept-language": "en"},
        "client_ip": "198.51.100.7",
    },
}


@pytest.mark.parametrize("more", [{}, {"claims": {"sub": "e-17"}}, {"body": {"a": 1}}, {"body": [1]}, {"body": None}])
def test_the_input_of_a_policy_has_its_schema(more: dict[str, Any]) -> None:
    assert editor_takes("policy-input", INPUT | more)


@pytest.mark.parametrize(
    "wrong", [{"secret": "x"}, {"key": {"id": "k1", "hash": "x"}}, {"region": "uk"}, {"claims": []}]
)
def test_an_input_that_no_router_gives_does_not_have_it(wrong: dict[str, Any]) -> None:
    assert not editor_takes("policy-input", INPUT | wrong)
