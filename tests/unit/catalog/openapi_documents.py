"""OpenAPI documents made up for tests: one operation with what the test is about."""

from __future__ import annotations

from typing import Any

from apx.catalog.mistakes import Path
from apx.catalog.model import Route
from apx.catalog.openapi.operations import Operation, Operations, read_operations

OK = {"200": {"description": "ok"}}
Told = list[tuple[Path, str, str]]


def document(
    schema: Any = None,
    *,
    version: str = "3.1.0",
    parameters: Any = (),
    kind: str = "application/json",
    required: bool = True,
    path: str = "/",
    **components: Any,
) -> dict[str, Any]:
    """Return a document with `POST /` that takes bodies of `schema`."""
    body = {"required": required, "content": {kind: {"schema": {} if schema is None else schema}}}
    post = {"parameters": list(parameters), "requestBody": body, "responses": OK}
    return {
        "openapi": version,
        "info": {"title": "T", "version": "1"},
        "paths": {path: {"post": post}},
        "components": components,
    }


def read(whole: Any, *routes: Route, base_path: str = "/orders") -> tuple[Operations, Told]:
    """Return the operations of the routes (`POST /` when none is given) and what is told."""
    told: Told = []
    operations = read_operations(
        whole,
        base_path,
        routes or (Route(path="/", methods=("POST",)),),
        lambda path, code, message: told.append((path, code, message)),
        lambda index, field, code, message: told.append((("routes", index, field), code, message)),
    )
    return operations, told


def body_schema(whole: Any) -> dict[str, Any]:
    """Return the definition of the body that `POST /` takes."""
    operations, told = read(whole)
    assert told == []
    operation: Operation = operations["/", "POST"]
    assert operation.body is not None
    ((_, bundle),) = operation.body.content
    assert bundle is not None
    made: dict[str, Any] = bundle.schema["$defs"][bundle.schema["$ref"].rpartition("/")[2]]
    return made
