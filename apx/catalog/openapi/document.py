"""An OpenAPI document as a file: YAML or JSON within bounds, each part with its place."""

from __future__ import annotations

import json
import re
from typing import Any

from apx.catalog.document import Bounds, Document, compose
from apx.catalog.mistakes import Mistake, show

MOST_BYTES = 8 * 1_048_576
BOUNDS = Bounds(deepest=64, most_nodes=400_000, loose=True)

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def read_openapi(file: str, raw: bytes) -> tuple[Document | None, list[Mistake]]:
    """Read a document; None when nothing in it can be checked further."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return None, [Mistake(file, line, 1, "not-utf8", f"byte 0x{raw[error.start]:02x} is not UTF-8: save as UTF-8")]
    if text.lstrip().startswith("{"):
        return _read_json(file, text)
    document, mistakes = compose(file, text, [], BOUNDS)
    return (None if mistakes else document), mistakes


def _read_json(file: str, text: str) -> tuple[Document | None, list[Mistake]]:
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        message = f"this is not JSON: {error.msg}"
        return None, [Mistake(file, error.lineno, error.colno, "json-syntax", f"{message}: correct it")]
    except RecursionError:
        return None, [Mistake(file, 1, 1, "yaml-too-deep", _too_deep())]
    except ValueError as error:
        return None, _as_yaml(file, text) or [Mistake(file, 1, 1, "json-syntax", f"{error}: correct it")]
    refused = _over_bounds(value)
    if refused:
        return None, [Mistake(file, 1, 1, *refused)]
    return Document(file, _as_yaml_text(text), value, has_null=False, bounds=BOUNDS), []


def _as_yaml(file: str, text: str) -> list[Mistake]:
    """Return the mistakes with their places: JSON is YAML, nearly."""
    return compose(file, _as_yaml_text(text), [], BOUNDS)[1]


def _as_yaml_text(text: str) -> str:
    """Put what YAML does not take of JSON in place of something as long: only places are looked up in it."""
    return _SURROGATE.sub(r"\\u0041", text.replace("\t", " "))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return names


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{show(text)} is out of range")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{show(name)} is not JSON")


def _over_bounds(value: Any) -> tuple[str, str] | None:
    """Count what a JSON document holds, level by level."""
    level, nodes, depth = [value], 0, 0
    while level:
        nodes += len(level)
        depth += 1
        if nodes > BOUNDS.most_nodes:
            return "yaml-too-many-nodes", f"the file has more than {BOUNDS.most_nodes} values: make it smaller"
        if depth > BOUNDS.deepest + 1:
            return "yaml-too-deep", _too_deep()
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return None


def _too_deep() -> str:
    return f"there are more than {BOUNDS.deepest} levels: flatten the file"
