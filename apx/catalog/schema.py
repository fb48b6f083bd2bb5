"""The JSON Schemas (2020-12) of the gitops tree, made from the structs that load it.

`python -m apx.catalog.schema gitops/schemas` writes `product.json`, `plan.json` and `org.json`. The texts that editors
show are the docstrings of the structs and of their fields.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from apx.catalog import model, resources
from apx.catalog.resources import OrgResource, PlanResource, ProductResource, Resource

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILLED_IN_BY_LOADING = {("Jwt", "jwks")}
"""Fields of the structs that nobody writes in a file."""


def schema_of(resource: type[Resource]) -> dict[str, Any]:
    """Return the JSON Schema of a resource's file."""
    made = msgspec.json.schema(resource)
    for name, definition in made["$defs"].items():
        _describe(name, definition)
    root = made["$defs"].pop(resource.__name__)
    return {"$schema": DIALECT, **root, "$defs": made["$defs"]}


def write_schemas(folder: Path) -> None:
    """Write the three schemas into `folder`."""
    for name, resource in (("product", ProductResource), ("plan", PlanResource), ("org", OrgResource)):
        (folder / f"{name}.json").write_text(as_text(resource))


def as_text(resource: type[Resource]) -> str:
    """Return the JSON Schema of a resource's file as it stands in `gitops/schemas/`."""
    return json.dumps(schema_of(resource), indent=2, ensure_ascii=False) + "\n"


def _describe(name: str, definition: dict[str, Any]) -> None:
    texts = _docstrings()[name]
    definition["description"] = texts[""]
    for struct, field in FILLED_IN_BY_LOADING:
        if struct == name:
            del definition["properties"][field]
    for field, schema in definition["properties"].items():
        schema["description"] = texts[field]
        _drop_what_editors_show_badly(schema)


def _drop_what_editors_show_badly(schema: dict[str, Any]) -> None:
    """Leave `null` out of optional fields (in YAML one leaves the field out), and empty defaults."""
    if schema.get("default", "") in (None, "", [], {}):
        schema.pop("default", None)
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        del schema["anyOf"]
        schema.update(options[0])


@cache
def _docstrings() -> dict[str, dict[str, str]]:
    """Read the docstring of each class (under "") and the text under each of its fields, by the name in the file."""
    texts: dict[str, dict[str, str]] = {}
    for module in (model, resources):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                texts[node.name] = {"": inspect.cleandoc(ast.get_docstring(node) or ""), **_field_texts(module, node)}
    return texts


def _field_texts(module: Any, node: ast.ClassDef) -> dict[str, str]:
    written = {field.name: field.encode_name for field in msgspec.structs.fields(getattr(module, node.name))}
    return {
        written[field.target.id]: text.value.value
        for field, text in zip(node.body, node.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
