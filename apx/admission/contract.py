"""A request held against its product's OpenAPI document: parameters and JSON bodies, by schemas compiled beforehand.

What a request can cost is bounded by its body's length: bodies nest 512 levels at most, regular expressions take time
linear in the text, and a body whose values would be looked at more than `MOST_WORK` times in all is refused unread.
What is answered names places and what the document asks there, never what the client sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec

from apx.admission.bodies import is_encoded, is_json_type, read_json
from apx.admission.departures import Departure, departure_of, escaped, schema_departures
from apx.admission.parameters import readings
from apx.catalog.openapi.compile import (
    Ready,
    ReadyBody,
    ReadyOperation,
    ReadyParameter,
    compile_operations,
)
from apx.catalog.openapi.operations import read_operations
from apx.errors import ReleaseRejected
from apx.release.digest import short
from apx.release.model import Release

MOST_WORK = 2_000_000
"""Schemas times values: a fifth of a second at the worst measured, for which nobody else is served."""
MOST_DEPARTURES = 5


class Invalid(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request departs from the document."""

    status: int
    code: str = "request-invalid"
    detail: str
    errors: tuple[Departure, ...] = ()


class Seen(NamedTuple):
    """What is held against the document."""

    route: str
    """The route's template."""
    method: str
    params: Mapping[str, str]
    """Of the route's template, decoded, in its order."""
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class Held(NamedTuple):
    """What came of holding a request against the document."""

    invalid: Invalid | None
    body_is_read: bool
    """The body is JSON with one reading."""


def contract_of(release: Release) -> Contract | None:
    """Return what a release's document asks for; None without one. Raises `ReleaseRejected`."""
    spec, wrong = release.manifest.spec, list[str]()
    if release.openapi is None:
        if release.manifest.openapi is not None or spec.openapi is not None:
            raise ReleaseRejected(f"{short(release.digest)}: the OpenAPI document is not in it: build it again")
        return None
    try:
        operations = read_operations(
            json.loads(release.openapi),
            spec.base_path,
            spec.routes,
            lambda _, __, message: wrong.append(message),
            lambda _, __, ___, message: wrong.append(message),
        )
        ready = compile_operations(operations)
    except (ValueError, RecursionError) as error:
        wrong.append(str(error))
    if wrong:
        raise ReleaseRejected(f"{short(release.digest)}: the OpenAPI document: {wrong[0]}")
    return Contract(ready, sees_bodies=spec.mode == "async")


class Contract:
    """What a product's operations ask of requests."""

    def __init__(self, operations: Mapping[tuple[str, str], ReadyOperation], *, sees_bodies: bool) -> None:
        """Hold requests against `operations`, by route and method; a sync product's bodies are not seen."""
        self._operations = operations
        self._sees_bodies = sees_bodies

    def hold(self, seen: Seen) -> Held:
        """Hold one request against its operation. Never raises."""
        operation = self._operations[seen.route, seen.method]
        wrong = list(islice(_parameter_departures(operation, seen), MOST_DEPARTURES))
        if operation.body is None or not self._sees_bodies:
            return Held(_invalid(400, wrong), body_is_read=False)
        if not seen.body:
            if operation.body.body.required:
                wrong.append(Departure(place="body", pointer="", detail="is missing"))
            return Held(_invalid(400, wrong), body_is_read=False)
        schema = _schema_of(operation.body, seen.headers)
        if isinstance(schema, Ready) and not wrong:
            return _with_json(schema, seen)
        return Held(_invalid(400, wrong) or (schema if isinstance(schema, Invalid) else None), body_is_read=False)


def _parameter_departures(operation: ReadyOperation, seen: Seen) -> Iterator[Departure]:
    for ready in operation.parameters:
        parameter = ready.parameter
        values = _values(ready, seen)
        if not values:
            if parameter.required:
                yield Departure(place=parameter.place, pointer=_pointer(ready), detail="is missing")
        elif not parameter.is_spread and not (parameter.may_be_empty and values == [""]):
            yield from _value_departures(ready, values)


def _value_departures(ready: ReadyParameter, values: list[str]) -> Iterator[Departure]:
    read = readings(ready, values)
    if any(map(ready.schema.is_valid, read)):
        return
    place, pointer = ready.parameter.place, _pointer(ready)
    if not read:
        yield Departure(
            place=place, pointer=pointer, detail="is not JSON" if ready.parameter.is_json else "is there more than once"
        )
    else:
        error = ready.schema.first(read[0])
        yield departure_of(error, place, ready.schema.names, pointer)


def _values(ready: ReadyParameter, seen: Seen) -> list[str]:
    parameter = ready.parameter
    if parameter.place == "path":
        return [list(seen.params.values())[parameter.index]]
    if parameter.place == "header":
        return [seen.headers[parameter.name]] if parameter.name in seen.headers else []
    if parameter.is_spread:
        return [name for name in seen.query if name.startswith(f"{parameter.name}[")]
    return seen.query.get(parameter.name) or seen.query.get(f"{parameter.name}[]", [])


def _pointer(ready: ReadyParameter) -> str:
    return "/" + escaped(ready.parameter.name)


def _with_json(schema: Ready, seen: Seen) -> Held:
    body = seen.body
    if is_encoded(seen.headers):
        return Held(_ENCODED, body_is_read=False)
    if (body.count(b",") + body.count(b"[") + body.count(b"{") + 1) * schema.work > MOST_WORK:
        return Held(_TOO_MUCH, body_is_read=False)
    try:
        value = read_json(body)
    except ValueError:
        return Held(_UNREADABLE, body_is_read=False)
    if schema.is_valid(value):
        return Held(None, body_is_read=True)
    departures = list(islice(schema_departures(schema, value, len(body)), MOST_DEPARTURES))
    return Held(_invalid(422, departures), body_is_read=True)


def _schema_of(ready: ReadyBody, headers: Mapping[str, str]) -> Ready | Invalid | None:
    """Return the schema for a body's media type; None for what the document takes as it is."""
    content = ready.content
    written = headers.get("content-type")
    if written == "application/json" and written in content:  # nearly always
        return content[written]
    if written is None:
        return content.get("application/json") or next(iter(content.values()), None)
    name = written.partition(";")[0].strip().lower()
    ranges = (name, f"{name.partition('/')[0]}/*", "*/*")
    known = next((one for one in ranges if one in content), None)
    if known is None or (content[known] is not None and known == name and not is_json_type(written)):
        return _TYPE
    return content[known] if is_json_type(written) else None


def _invalid(status: int, departures: list[Departure]) -> Invalid | None:
    if not departures:
        return None
    detail = "The request departs from the product's OpenAPI document."
    return Invalid(status=status, detail=detail, errors=tuple(departures))


_TYPE = Invalid(status=415, detail="The product's OpenAPI document names no such content-type for this operation.")
_ENCODED = Invalid(
    status=415, code="body-encoded", detail="This product takes bodies without a content-encoding: they are validated."
)
_UNREADABLE = Invalid(status=400, code="body-invalid", detail="The body is not JSON with one reading (RFC 8259).")
_TOO_MUCH = Invalid(status=413, detail="The body holds more values than can be validated in good time.")
