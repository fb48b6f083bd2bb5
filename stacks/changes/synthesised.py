"""What a synthesis wrote, as things by their addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from apx.errors import Misconfigured
from stacks.changes.model import Address, Body, Part

Tree = Mapping[Address, Body]
_NAMED = {"resource": Part.RESOURCE, "data": Part.DATA}


def read_folder(folder: Path, environment: str) -> Tree:
    """Read every `stacks/*/cdk.tf.json` of what `python -m stacks --out FOLDER` wrote.

    Raises `Misconfigured` when there is no stack, or one is no JSON.
    """
    files = sorted(folder.glob("stacks/*/cdk.tf.json"))
    if not files:
        raise Misconfigured(f"{folder}: no stacks/*/cdk.tf.json was written for {environment}.")
    found: dict[Address, Body] = {}
    for path in files:
        stack = path.parent.name.removeprefix(f"{environment}-")
        found.update(_things(stack, _document(path)))
    return found


def _document(path: Path) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Misconfigured(f"{path}: {error}") from error


def _things(stack: str, document: Mapping[str, Any]) -> Iterator[tuple[Address, Body]]:
    for section, part in _NAMED.items():
        for type_, named in document.get(section, {}).items():
            for name, body in named.items():
                yield Address(stack, part, type_, name), without_metadata(body)
    for name, body in document.get("output", {}).items():
        yield Address(stack, Part.OUTPUT, "", name), without_metadata(body)
    yield from _settings(stack, document)


def _settings(stack: str, document: Mapping[str, Any]) -> Iterator[tuple[Address, Body]]:
    """Yield what is no resource and yet decides about all of them: providers, variables, where the state is."""
    for section in ("provider", "variable", "terraform"):
        for name, body in document.get(section, {}).items():
            mapped = body if isinstance(body, dict) else {"value": body}
            yield Address(stack, Part.SETTING, section, name), without_metadata(mapped)


def without_metadata(body: Body) -> Body:
    """Return a body without what CDKTF writes for itself: `//`, with its paths and the reasons for checkov."""
    return {name: value for name, value in body.items() if name != "//"}
