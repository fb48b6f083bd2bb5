"""The tables of `docs/gitops.md`, made from the schemas by `python -m apx.catalog.reference docs/gitops.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from apx.catalog.explain import Schema
from apx.catalog.resources import OrgResource, PlanResource, ProductResource
from apx.catalog.schema import schema_of

BEGIN = "<!-- fields: begin (python -m apx.catalog.reference docs/gitops.md) -->"
END = "<!-- fields: end -->"


def reference() -> str:
    """Return the Markdown of all fields, kind by kind."""
    parts = []
    for kind in (ProductResource, PlanResource, OrgResource):
        schema = schema_of(kind)
        definitions = schema["$defs"]
        spec = schema["properties"]["spec"]["$ref"].rpartition("/")[2]
        parts.append(f"### {schema['properties']['kind']['enum'][0]}\n")
        parts += _tables("spec", definitions[spec], definitions)
    return "\n".join(parts)


def with_reference(page: str) -> str:
    """Return a page with its tables renewed."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _tables(path: str, schema: Schema, definitions: dict[str, Schema]) -> list[str]:
    rows = [f"`{path}`: {schema['description']}\n", "| field | type | default | meaning |", "|---|---|---|---|"]
    below: list[str] = []
    for name, field in schema["properties"].items():
        default = "required" if name in schema["required"] else _default(field)
        rows.append(f"| `{name}` | {_type(field)} | {default} | {field['description']} |")
        inner = _inner(field, definitions)
        if inner:
            below += _tables(f"{path}.{name}{'[]' * (field.get('type') == 'array')}", inner, definitions)
    return ["\n".join(rows) + "\n", *below]


def _inner(field: Schema, definitions: dict[str, Schema]) -> Schema | None:
    name = field.get("$ref", field.get("items", {}).get("$ref", "")).rpartition("/")[2]
    return definitions.get(name)


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"


def _type(field: Schema) -> str:
    match field:
        case {"$ref": _}:
            return "mapping"
        case {"enum": choices}:
            return ", ".join(f"`{choice}`" for choice in choices)
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"type": "object"}:
            return "mapping of texts"
        case {"type": "integer" | "number"}:
            return _number(field)
    return {"string": "text", "boolean": "true or false"}[str(field["type"])]


def _number(field: dict[str, Any]) -> str:
    low = f"> {field['exclusiveMinimum']}" if "exclusiveMinimum" in field else f"≥ {field['minimum']}"
    high = f"< {field['exclusiveMaximum']}" if "exclusiveMaximum" in field else f"≤ {field['maximum']}"
    return f"{'whole number' if field['type'] == 'integer' else 'number'} {low}, {high}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_reference(page.read_text()))
