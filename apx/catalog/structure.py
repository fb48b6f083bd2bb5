"""From a document to its resource: fields, types and bounds.

The structs decide, at the speed of C. Only a file that they refuse is held against the JSON Schema made from them,
which finds all mistakes instead of the first, each with its path.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Generic, TypeVar

import jsonschema
import msgspec

from apx.catalog.document import Document
from apx.catalog.explain import explain, repeated
from apx.catalog.mistakes import MOST_MISTAKES, Mistake, Path, show_path
from apx.catalog.repair import Fault, repair
from apx.catalog.resources import OrgResource, PlanResource, ProductResource, Resource
from apx.catalog.schema import schema_of

R = TypeVar("R", ProductResource, PlanResource, OrgResource)


class Structured(msgspec.Struct, Generic[R], frozen=True):
    """What a document came to."""

    resource: R | None
    """Its wrong parts stand repaired, so that the rest can be checked too; None when that did not help."""
    mistakes: list[Mistake]
    repaired: frozenset[Path] = frozenset()
    """Where the resource is not what the file says."""


def structure(document: Document, kind: type[R]) -> Structured[R]:
    """Read a document as one kind of resource."""
    if not document.has_null:
        try:
            resource = msgspec.convert(document.value, kind)
        except msgspec.ValidationError:
            pass
        else:
            if not _schema_asks_more(resource):
                return Structured(resource, [])
    faults = list(_compare(document, kind))
    mistakes = [fault.mistake for fault in faults]
    try:
        resource = msgspec.convert(repair(document.value, faults, kind), kind)
    except msgspec.ValidationError as error:
        return Structured(None, mistakes or [document.mistake((), "malformed", f"{error}: correct it")])
    return Structured(resource, mistakes, frozenset(fault.path for fault in faults))


def _schema_asks_more(resource: Resource) -> bool:
    """Whether there is what a struct takes and its schema does not: repeated items, content that loading fills in."""
    match resource:
        case ProductResource(spec=spec):
            jwt = spec.auth.jwt
            lists = [spec.plans, spec.policy.headers, spec.backend.retry.on, *(route.methods for route in spec.routes)]
            lists += [jwt.audiences] if jwt else []
            return any(len(set(items)) != len(items) for items in lists) or bool(jwt and jwt.jwks)
        case OrgResource(spec=spec):
            return len(set(spec.contacts)) != len(spec.contacts)
    return False


def _compare(document: Document, kind: type[Resource]) -> Iterator[Fault]:
    """Yield each place where the document departs from the schema, once."""
    seen: set[tuple[Path, str]] = set()
    for error in _validator(kind).iter_errors(document.value):
        for path, schema, code, message in explain(error):
            # A text that is empty is malformed too: one place, one mistake.
            place = (path, code if code in _MANY_AT_ONE_PLACE else "")
            if place not in seen:
                seen.add(place)
                shown = f"{show_path(path)}: {message}" if path else message
                yield Fault(path, schema, document.mistake(path, code, shown, at_key=schema is None))
        if len(seen) > MOST_MISTAKES:
            return


_MANY_AT_ONE_PLACE = frozenset({"missing-field", "unknown-field"})


@cache
def _validator(kind: type[Resource]) -> Any:
    return _Validator(schema_of(kind))


def _distinct(_: Any, wanted: Any, items: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    """Check `uniqueItems` in linear time: the library compares each with each when their types differ."""
    if wanted and isinstance(items, list) and repeated(items):
        yield jsonschema.ValidationError("has repeated items")


_extend: Any = jsonschema.validators.extend  # it has no types
_Validator = _extend(jsonschema.Draft202012Validator, {"uniqueItems": _distinct})
