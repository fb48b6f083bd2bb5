"""Find the product and route of a path: a hash look-up for the base path, then a walk down a tree of segments.

The cost depends on the number of segments, not on the number of products or routes. A literal segment wins over
`{name}`, and that over `{name=**}`; the validation of the catalog refuses templates that this leaves ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from apx.catalog.model import Route

T = TypeVar("T")


class Match(msgspec.Struct, frozen=True):
    """A route that takes the path, with the values of its `{names}` (percent-encoding kept)."""

    route: Route
    params: dict[str, str]


class MethodNotAllowed(msgspec.Struct, frozen=True):
    """A route takes the path, but not with this method."""

    allowed: tuple[str, ...]


class RouteTree:
    """The routes of one product."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._root.add(_segments(route.path), route)

    def match(self, method: str, path: str) -> Match | MethodNotAllowed | None:
        """Return the route for a path under the base path (`/` or `/a/b`), the methods that it has, or None."""
        found = self._root.find(_segments(path), 0, ())
        if found is None:
            return None
        node, values = found
        for route in node.routes:
            if method in route.methods:
                return Match(route, dict(zip(_names(route.path), values, strict=True)))
        return MethodNotAllowed(tuple(sorted({method for route in node.routes for method in route.methods})))


class BasePaths(Generic[T]):
    """What serves under each base path. Base paths never nest, so the first one that fits is the only one."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._entries = dict(entries)
        self._depths = sorted({base.count("/") for base in self._entries})

    def find(self, path: str) -> tuple[T, str] | None:
        """Return what serves `path` and the path under it (`/` when nothing is left)."""
        cut = 0
        depth = 0
        for wanted in self._depths:
            while depth < wanted:
                cut = path.find("/", cut + 1)
                depth += 1
                if cut < 0:
                    break
            entry = self._entries.get(path if cut < 0 else path[:cut])
            if entry is not None:
                return entry, "/" if cut < 0 else path[cut:]
            if cut < 0:
                return None
        return None


class _Node:
    __slots__ = ("literals", "parameter", "rest", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.rest: _Node | None = None
        self.routes: list[Route] = []

    def add(self, segments: list[str], route: Route) -> None:
        if not segments:
            self.routes.append(route)
            return
        self._child(segments[0]).add(segments[1:], route)

    def _child(self, segment: str) -> _Node:
        if segment.endswith("=**}"):
            self.rest = self.rest or _Node()
            return self.rest
        if segment.startswith("{"):
            self.parameter = self.parameter or _Node()
            return self.parameter
        return self.literals.setdefault(segment, _Node())

    def find(self, segments: list[str], at: int, values: tuple[str, ...]) -> tuple[_Node, tuple[str, ...]] | None:
        if at == len(segments):
            return (self, values) if self.routes else None
        segment = segments[at]
        literal = self.literals.get(segment)
        found = literal.find(segments, at + 1, values) if literal else None
        if found is None and self.parameter and segment:
            found = self.parameter.find(segments, at + 1, (*values, segment))
        if found is None and self.rest:
            found = self.rest, (*values, "/".join(segments[at:]))
        return found


def _segments(path: str) -> list[str]:
    return path[1:].split("/") if len(path) > 1 else []


def _names(template: str) -> list[str]:
    return [part[1:-1].removesuffix("=**") for part in _segments(template) if part.startswith("{")]
