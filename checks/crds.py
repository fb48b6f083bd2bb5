"""The gitops resources as Kubernetes knows them: `python -m checks.crds [--write]`.

`gitops/crds/*.yaml` are made from `gitops/schemas/*.json`. Without `--write` they are compared with what would be made.
A CustomResourceDefinition takes a part of OpenAPI 3.0, and a structural one a part of that, so that this translates:

- `$ref` is written out, an `enum` has its type, `exclusiveMinimum` stands beside a bound;
- `uniqueItems` is a list of the type `set`, `propertyNames` a rule in CEL;
- `additionalProperties: false` is left out: the API server takes unknown fields away, `kubectl` refuses them;
- patterns are RE2's; what only editors read (`examples`, `patternErrorMessage`) is left out.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

ROOT = Path(__file__).resolve().parents[1]
GROUP, VERSION = "apx.dev", "v1"
MODELINE = "# yaml-language-server: $schema=../schemas/crd.json"
COMMAND = "python -m checks.crds --write"
MADE = f"# Made from gitops/schemas/ by `{COMMAND}`."

AS_IT_IS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "enum", "required")
LEFT_OUT = frozenset({"$schema", "$defs", "title", "examples", "patternErrorMessage", "writeOnly"})
"""For editors, or written out."""
TRANSLATED = frozenset(
    {
        *("$ref", "type", "description", "properties", "items", "additionalProperties", "propertyNames"),
        *("uniqueItems", "pattern", "default", "exclusiveMinimum", "exclusiveMaximum"),
    }
)
NO_DEFAULT = frozenset({"concurrency_per_org", "openapi_mode"})
"""The API server writes defaults into what it keeps. One that nobody wrote may be over a small backend's bound, or say
how to hold requests against a document that there is not."""

Schema = dict[str, Any]


class Column(msgspec.Struct, frozen=True):
    """What `kubectl get` shows beside the name."""

    name: str
    type: str
    path: str


class Kind(msgspec.Struct, frozen=True):
    """One resource, under the name of its schema's file."""

    singular: str
    short: str
    columns: tuple[Column, ...]

    @property
    def plural(self) -> str:
        """Return the name in addresses and of the file."""
        return f"{self.singular}s"


KINDS = (
    Kind(
        "product",
        "apxprod",
        (
            Column("Base path", "string", ".spec.base_path"),
            Column("Mode", "string", ".spec.mode"),
            Column("Owner", "string", ".spec.owner"),
        ),
    ),
    Kind(
        "plan",
        "apxplan",
        (
            Column("Per second", "number", ".spec.rate.per_second"),
            Column("Burst", "integer", ".spec.rate.burst"),
            Column("Priority", "integer", ".spec.priority"),
        ),
    ),
    Kind("org", "apxorg", (Column("Title", "string", ".spec.title"), Column("Region", "string", ".spec.region"))),
)
AGE = Column("Age", "date", ".metadata.creationTimestamp")


def made(gitops: Path) -> dict[Path, str]:
    """Return the text of each definition of a gitops tree, by its file."""
    return {gitops / "crds" / f"{kind.plural}.yaml": as_text(kind, gitops / "schemas") for kind in KINDS}


def as_text(kind: Kind, schemas: Path) -> str:
    """Return a definition as its file holds it."""
    schema = json.loads((schemas / f"{kind.singular}.json").read_text(encoding="utf-8"))
    written = yaml.dump(
        definition(kind, schema), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, line_break="\n"
    )
    return f"{MODELINE}\n{MADE}\n{written}"


def definition(kind: Kind, schema: Schema) -> Schema:
    """Return the CustomResourceDefinition of a resource with this JSON Schema."""
    columns = [{"name": one.name, "type": one.type, "jsonPath": one.path} for one in (*kind.columns, AGE)]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": schema["properties"]["kind"]["enum"][0],
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": ["apx"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": structural(schema, schema["$defs"])},
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }


def structural(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return a node of a JSON Schema (2020-12) as a structural one. Raises `ValueError` for what has no translation."""
    node = _written_out(node, definitions)
    if unknown := node.keys() - TRANSLATED - LEFT_OUT - {*AS_IT_IS}:
        raise ValueError(f"{sorted(unknown)}: checks/crds.py does not know what Kubernetes calls it")
    made: Schema = {"type": _type(node)}
    if "description" in node:
        made["description"] = " ".join(node["description"].split())
    made |= {name: node[name] for name in AS_IT_IS if node.get(name) not in (None, [])}
    made |= _bounds(node) | _default(node)
    if "pattern" in node:
        made["pattern"] = re2(node["pattern"])
    if "properties" in node:
        made["properties"] = {name: _property(name, one, definitions) for name, one in node["properties"].items()}
    elif "additionalProperties" in node:
        made |= _mapping(node, definitions)
    if "items" in node:
        made["items"] = structural(node["items"], definitions)
    if node.get("uniqueItems"):
        made["x-kubernetes-list-type"] = "set"
    return made


def re2(pattern: str) -> str:
    """Return a pattern of the schemas in RE2's words: its `$` is the end of the text, its blanks are ASCII's alone."""
    return pattern.replace(r"$(?!\n)", "$").replace(r"\s", r"\s\x{85}\pZ")


def main(arguments: Sequence[str]) -> int:
    """Write the definitions, or print which of them is not what would be made; 1 when one is."""
    files = made(ROOT / "gitops")
    if "--write" in arguments:
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    wrong = [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    wrong += sorted({*(ROOT / "gitops" / "crds").glob("*")} - files.keys())
    sys.stdout.writelines(f"{path.relative_to(ROOT)}: not what the schemas make; run `{COMMAND}`\n" for path in wrong)
    return 1 if wrong else 0


def _written_out(node: Schema, definitions: dict[str, Schema]) -> Schema:
    if "$ref" not in node:
        return node
    meant = definitions[node["$ref"].removeprefix("#/$defs/")]
    return {**meant, **{name: value for name, value in node.items() if name != "$ref"}}


def _type(node: Schema) -> str:
    if "type" in node:
        return str(node["type"])
    if all(isinstance(value, str) for value in node.get("enum", [None])):
        return "string"
    raise ValueError(f"{node}: a structural schema has a type in each node")


def _bounds(node: Schema) -> Schema:
    """Return exclusive bounds as OpenAPI 3.0 has them: a bound, and that it is exclusive."""
    bounds: Schema = {}
    for ours, theirs in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if ours in node:
            bounds |= {theirs: node[ours], ours: True}
    return bounds


def _default(node: Schema) -> Schema:
    """Return the default, unless it is a mapping: a sync product would be given a section `async`."""
    return {} if isinstance(node.get("default", {}), dict) else {"default": node["default"]}


def _property(name: str, node: Schema, definitions: dict[str, Schema]) -> Schema:
    made = structural(node, definitions)
    if name == "metadata":  # nothing else may be said of it
        return {"type": "object", "properties": {"name": made["properties"]["name"]}}
    if name in NO_DEFAULT:
        made.pop("default", None)
    return made


def _mapping(node: Schema, definitions: dict[str, Schema]) -> Schema:
    made: Schema = {"additionalProperties": structural(node["additionalProperties"], definitions)}
    names = node.get("propertyNames")
    if names is None:
        return made
    rule = f"self.all(key, size(key) <= {names['maxLength']} && key.matches({json.dumps(re2(names['pattern']))}))"
    message = f"each key: at most {names['maxLength']} characters, {names['patternErrorMessage']}"
    return made | {"x-kubernetes-validations": [{"rule": rule, "message": message}]}


class _Dumper(yaml.SafeDumper):
    """Lists are indented under their key, and nothing is an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 -- PyYAML's
        del indentless
        super().increase_indent(flow, False)  # noqa: FBT003


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
