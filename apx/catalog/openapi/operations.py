"""The operations of an OpenAPI document that a product's routes stand for: parameters and bodies with their schemas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from apx.catalog.mistakes import Path, did_you_mean, show
from apx.catalog.model import Route
from apx.catalog.openapi.schemas import Bundle, Schemas, Tell, references

Place = Literal["path", "query", "header"]
Lack = Callable[[int, str, str, str], None]
"""Takes the index of a route, its field, the mistake's code and the message with its way out."""

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_VERSION = re.compile(r"3\.([01])(\.[0-9]+)?(-.*)?")
_DIALECTS = ("https://json-schema.org/draft/2020-12/schema", "https://spec.openapis.org/oas/3.1/dialect/base")
BRACED = re.compile(r"\{([^{}/]+)\}")
_SEPARATORS = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
_NOT_PARAMETERS = frozenset({"accept", "content-type", "authorization"})
"""Header parameters that OpenAPI says to ignore."""


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of an operation."""

    place: Place
    name: str
    """Of a header in lower case."""
    index: int
    """Of the braces in the template, for those in the path."""
    required: bool
    may_be_empty: bool
    separator: str | None
    """Between the items of a list in one value; None when each item is a value of its own."""
    is_json: bool
    """The value is a JSON document."""
    is_spread: bool
    """An object over several fields, `name[field]=…`: only looked for, not validated."""
    schema: Bundle


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What bodies an operation takes."""

    required: bool
    content: tuple[tuple[str, Bundle | None], ...]
    """Media range in lower case → schema; None for what is not JSON, which is taken as it is."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation asks of a request."""

    parameters: tuple[Parameter, ...]
    body: Body | None


Operations = dict[tuple[str, str], Operation]
"""Route template and method → operation."""


def read_operations(document: Any, base_path: str, routes: Sequence[Route], tell: Tell, lack: Lack) -> Operations:
    """Return the operation of each route and method; what is wrong is told, and what is not there `lack`ed."""
    version = _version(document, tell)
    if version is None:
        return {}
    before = _Counted(tell)
    for path, ref in references(document):
        if not ref.startswith("#"):
            message = f"{show(ref)} is outside this document: bundle the document into one file"
            before((*path, "$ref"), "openapi-ref-remote", message)
    paths = document.get("paths")
    if not isinstance(paths, dict):
        before(("paths",), "openapi-malformed", "there are no paths: describe the product's routes")
        return {}
    reader = _Reader(Schemas(document, old=version == "0", tell=before), before)
    return dict(reader.operations(paths, base_path, routes, lack))


def shape(template: str) -> str:
    """Return a template without the names in its braces."""
    return BRACED.sub("{}", template)


def paths_under(paths: dict[str, Any], base_path: str) -> dict[str, str]:
    """Return path under the base path → path in the document.

    Where every path of the document begins with the product's base path, that is taken off.
    """
    whole = [path for path in paths if path.startswith("/")]
    if whole and all(path == base_path or path.startswith(f"{base_path}/") for path in whole):
        return {path.removeprefix(base_path) or "/": path for path in whole}
    return {path: path for path in whole}


class _Counted:
    """Passes each mistake on once."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: set[tuple[Path, str]] = set()

    def __call__(self, path: Path, code: str, message: str) -> None:
        if (path, code) not in self._told:
            self._told.add((path, code))
            self._tell(path, code, message)


def _version(document: Any, tell: Tell) -> str | None:
    if not isinstance(document, dict):
        tell((), "openapi-malformed", "the document is not a mapping: write an OpenAPI document")
        return None
    found = _VERSION.fullmatch(str(document.get("openapi", "")))
    if found is None:
        said = show(document.get("openapi", document.get("swagger")))
        tell(("openapi",), "openapi-version", f"{said} is not 3.0 or 3.1: convert the document")
        return None
    dialect = document.get("jsonSchemaDialect", _DIALECTS[0])
    if dialect not in _DIALECTS:
        tell(("jsonSchemaDialect",), "openapi-unsupported", f"{show(dialect)} is not taken: leave it out")
    return found[1]


class _Reader:
    def __init__(self, schemas: Schemas, tell: Tell) -> None:
        self._schemas = schemas
        self._tell = tell

    def operations(
        self, paths: dict[str, Any], base_path: str, routes: Sequence[Route], lack: Lack
    ) -> Iterator[tuple[tuple[str, str], Operation]]:
        under = paths_under(paths, base_path)
        shapes = {shape(path): path for path in sorted(under, reverse=True)}  # of several alike, the first
        for index, route in enumerate(routes):
            known = shapes.get(shape(route.path))
            if known is None:
                message = f"there is no path '{route.path}' in it{did_you_mean(route.path, under)}"
                lack(index, "path", "openapi-route-missing", message)
                continue
            template = under[known]
            item, path = self._schemas.resolve(paths[template], ("paths", template))
            if not isinstance(item, dict):
                self._tell(path, "openapi-malformed", f"{show(item)} is not a path item: write a mapping")
                continue
            yield from self._of_route(route, template, item, path, partial(lack, index))

    def _of_route(
        self, route: Route, template: str, item: dict[str, Any], path: Path, lack: Callable[[str, str, str], None]
    ) -> Iterator[tuple[tuple[str, str], Operation]]:
        missing = []
        for method in route.methods:
            name = method.lower()
            if name == "head" and name not in item:
                name = "get"
            if name not in item:
                missing.append(method)
            elif not isinstance(item[name], dict):
                self._tell((*path, name), "openapi-malformed", f"{show(item[name])} is not an operation: write one")
            else:
                yield (route.path, method), self._operation(template, item, path, name)
        if missing:
            message = f"there is no {', '.join(missing)} at '{template}' in it: describe it there, or name the methods"
            lack("methods", "openapi-method-missing", message)

    def _operation(self, template: str, item: dict[str, Any], path: Path, name: str) -> Operation:
        found: dict[tuple[str, str], Parameter | None] = {}
        for holder, place in ((item, path), (item[name], (*path, name))):
            found |= dict(self._parameters(holder, (*place, "parameters"), template))
        return Operation(
            parameters=tuple(parameter for parameter in found.values() if parameter is not None),
            body=self._body(item[name], (*path, name)),
        )

    def _parameters(
        self, holder: dict[str, Any], path: Path, template: str
    ) -> Iterator[tuple[tuple[str, str], Parameter | None]]:
        listed = holder.get("parameters", [])
        if not isinstance(listed, list):
            self._tell(path, "openapi-malformed", f"{show(listed)} is not a list of parameters: write one")
            return
        for index, one in enumerate(listed):
            value, place = self._schemas.resolve(one, (*path, index))
            if value is None:
                continue
            if not isinstance(value, dict) or not isinstance(value.get("name"), str):
                self._tell(
                    place, "openapi-malformed", f"{show(value)} is not a parameter: give its name, in and schema"
                )
            elif value.get("in") not in ("path", "query", "header", "cookie"):
                message = f"{show(value.get('in'))} is not path, query, header or cookie: write one of them"
                self._tell((*place, "in"), "openapi-malformed", message)
            else:
                yield (value["in"], value["name"]), self._parameter(value, place, template)

    def _parameter(self, value: dict[str, Any], path: Path, template: str) -> Parameter | None:
        place, name = value["in"], value["name"]
        if place == "cookie" or (place == "header" and name.lower() in _NOT_PARAMETERS):
            return None
        named = BRACED.findall(template)
        if place == "path" and name not in named:
            message = f"'{template}' has no {{{name}}}: name it there, or remove the parameter"
            self._tell((*path, "name"), "openapi-parameter", message)
            return None
        held = self._held(value, path)
        style = value.get("style", "form" if place == "query" else "simple")
        if held is None or (style not in _SEPARATORS and style != "deepObject"):
            return None
        schema, is_json = held
        return Parameter(
            place=place,
            name=name.lower() if place == "header" else name,
            index=named.index(name) if place == "path" else 0,
            required=value.get("required") is True or place == "path",
            may_be_empty=value.get("allowEmptyValue") is True,
            separator=None if place == "query" and value.get("explode", style == "form") else _SEPARATORS.get(style),
            is_json=is_json,
            is_spread=style == "deepObject",
            schema=schema,
        )

    def _held(self, value: dict[str, Any], path: Path) -> tuple[Bundle, bool] | None:
        """Return the schema of a parameter, and whether its value is JSON; None when it has none to hold it against."""
        if "schema" in value:
            return self._schemas.bundle((*path, "schema")), False
        content = value.get("content")
        if not isinstance(content, dict) or len(content) != 1:
            self._tell(path, "openapi-malformed", "the parameter has neither a schema nor one content: give a schema")
            return None
        ((kind, media),) = content.items()
        if not is_json(kind) or not isinstance(media, dict) or "schema" not in media:
            return None
        return self._schemas.bundle((*path, "content", kind, "schema")), True

    def _body(self, operation: dict[str, Any], path: Path) -> Body | None:
        if "requestBody" not in operation:
            return None
        value, path = self._schemas.resolve(operation["requestBody"], (*path, "requestBody"))
        if value is None:
            return None
        if not isinstance(value, dict) or not isinstance(value.get("content"), dict):
            self._tell(path, "openapi-malformed", f"{show(value)} is not a request body: give its content")
            return None
        return Body(
            required=value.get("required") is True,
            content=tuple(self._media(kind, value["content"], (*path, "content")) for kind in value["content"]),
        )

    def _media(self, kind: str, content: dict[str, Any], path: Path) -> tuple[str, Bundle | None]:
        media = content[kind]
        if not isinstance(media, dict):
            self._tell((*path, kind), "openapi-malformed", f"{show(media)} is not a media type: write a mapping")
            return kind, None
        name = kind.partition(";")[0].strip().lower()
        if "schema" not in media or not (is_json(kind) or "*" in name):
            return name, None
        return name, self._schemas.bundle((*path, kind, "schema"))


def is_json(kind: str) -> bool:
    """Tell whether a media type of a document stands for JSON."""
    name = kind.partition(";")[0].strip().lower()
    return name == "application/json" or name.endswith("+json")
