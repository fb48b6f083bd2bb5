"""The schemas of an OpenAPI document as JSON Schema 2020-12, and what is wrong with them.

    Path in the document → `Bundle`: one schema that holds all that it refers to, under `$defs`

OpenAPI 3.0 has a dialect of its own, which is translated: `nullable` lets `null` through, whatever stands beside it;
`exclusiveMinimum: true` is a bound; beside a `$ref` nothing counts. In both, `readOnly` properties are not required of
a request. Annotations are left out, and so is `format`, which asserts nothing in JSON Schema 2020-12.

How much work a value can make is bounded: a schema that leads back to itself without going into the value is refused,
and so is one that looks at one value more often than `MOST_WORK` times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import msgspec

from apx.catalog.mistakes import Path, show
from apx.catalog.openapi import keywords

Schema = dict[str, Any] | bool
Tell = Callable[[Path, str, str], None]
"""Takes the place in the document, the mistake's code, and the message with its way out."""

MOST_WORK = 2000
_COMPARED = 20
"""What comparing a value with a whole object costs, in looks at a value."""
_LONGEST_CHAIN = 100
_READ_ONLY_HOPS = 10


class Bundle(msgspec.Struct, frozen=True):
    """One schema with all that it refers to."""

    schema: dict[str, Any]
    """`{"$ref": "#/$defs/…", "$defs": {…}}`."""
    work: int
    """How often one value is looked at, at most."""
    names: frozenset[str]
    """The names of properties that stand in it."""
    cyclic: frozenset[str]
    """The `$ref`s that lead back to where they stand, as `name of the definition>$ref`."""


class _Group:
    """What looks at one value."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cost = 0
        self.refs: list[Path] = []


class _Definition:
    """One translated schema of the document."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.schema: Schema = True
        self.groups: list[_Group] = []
        """The first is the schema's own; the others are those of its parts."""
        self.names: set[str] = set()
        self.refs: set[Path] = set()
        self.work: int | None = None


class Schemas:
    """The schemas of one document, each translated once. What is wrong is handed to `tell`."""

    def __init__(self, document: Any, *, old: bool, tell: Tell) -> None:
        """Read `document`; `old` is OpenAPI 3.0."""
        self._document = document
        self._old = old
        self._tell = tell
        self._known: dict[Path, _Definition] = {}
        self._waiting: list[Path] = []

    def bundle(self, path: Path) -> Bundle:
        """Return the schema at a path, whole."""
        self._define(path)
        while self._waiting:
            self._translate(self._waiting.pop())
        reached = self._reach(path)
        definitions = {name: one.schema for name, one in sorted((one.name, one) for one in reached.values())}
        return Bundle(
            schema={"$ref": f"#/$defs/{self._known[path].name}", "$defs": definitions},
            work=max((self._work_of(at) for at in reached), default=1),
            names=frozenset().union(*(one.names for one in reached.values())),
            cyclic=frozenset(
                f"{one.name}>#/$defs/{self._known[ref].name}"
                for at, one in reached.items()
                for ref in one.refs
                if at in self._reach(ref)
            ),
        )

    def resolve(self, value: Any, path: Path) -> tuple[Any, Path]:
        """Follow the references of a part that is no schema; (None, path) when they lead nowhere."""
        for _ in range(_READ_ONLY_HOPS):
            if not isinstance(value, dict) or "$ref" not in value:
                return value, path
            target = self.target(value["$ref"], path)
            if target is None:
                return None, path
            path = target
            value = at(self._document, path)
        self._tell((*path, "$ref"), "openapi-ref-cycle", "this leads from one reference to the next: end it")
        return None, path

    def target(self, ref: Any, path: Path) -> Path | None:
        """Return where a `$ref` leads; tell a mistake when it leads nowhere or out of the document."""
        place = (*path, "$ref")
        if not isinstance(ref, str):
            self._tell(place, "openapi-malformed", f"{show(ref)} is not a reference: write '#/components/…'")
            return None
        target = pointed(self._document, ref)
        if target is None and ref.startswith("#"):
            message = f"{show(ref)} leads nowhere: correct it, or add what it names"
            self._tell(place, "openapi-ref-unknown", message)
        elif target is None:
            message = f"{show(ref)} is outside this document: bundle the document into one file"
            self._tell(place, "openapi-ref-remote", message)
        return target

    def _define(self, path: Path) -> _Definition:
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = _Definition(f"s{len(self._known)}")
            self._waiting.append(path)
        return known

    def _translate(self, path: Path) -> None:
        definition = self._known[path]
        translator = _Translator(self, self._document, self._tell, definition, old=self._old)
        definition.schema = translator.whole(at(self._document, path), path)

    def _reach(self, path: Path) -> dict[Path, _Definition]:
        reached: dict[Path, _Definition] = {}
        waiting = [path]
        while waiting:
            one = waiting.pop()
            if one not in reached:
                reached[one] = self._known[one]
                waiting += self._known[one].refs
        return reached

    def _work_of(self, path: Path) -> int:
        """Return the most work of any value under a definition; 1 when it is refused."""
        definition = self._known[path]
        if definition.work is None:
            definition.work = 1
            works = [self._group_work(group, ()) for group in definition.groups]
            definition.work = max(works, default=1)
            if definition.work > MOST_WORK:
                group = definition.groups[works.index(definition.work)]
                message = f"one value is looked at more than {MOST_WORK} times: simplify the alternatives"
                self._tell(group.path, "openapi-too-much-work", message)
        return definition.work

    def _group_work(self, group: _Group, above: tuple[Path, ...]) -> int:
        work = group.cost
        for ref in group.refs:
            if ref in above or len(above) >= _LONGEST_CHAIN:
                self._tell(
                    group.path,
                    "openapi-ref-cycle",
                    "the references lead back to this place without going into the value: take one away",
                )
                return 1
            first = self._known[ref].groups
            work += self._group_work(first[0], (*above, ref)) if first else 1
            if work > MOST_WORK:
                return MOST_WORK + 1
        return work

    def define(self, path: Path) -> str:
        """Return the name of the definition that stands for the schema at a path."""
        return self._define(path).name


class _Translator:
    """Translates one schema of the document, without what it refers to."""

    def __init__(self, schemas: Schemas, document: Any, tell: Tell, definition: _Definition, *, old: bool) -> None:
        self._schemas = schemas
        self._document = document
        self._tell = tell
        self._into = definition
        self._old = old

    def whole(self, value: Any, path: Path) -> Schema:
        """Translate the schema of a value, or of a part of one."""
        group = _Group(path)
        self._into.groups.append(group)
        return self._schema(value, path, group)

    def _schema(self, value: Any, path: Path, group: _Group) -> Schema:
        group.cost += 1
        if isinstance(value, bool):
            return value
        if not isinstance(value, dict):
            self._tell(path, "openapi-malformed", f"{show(value)} is not a schema: write a mapping")
            return True
        made: dict[str, Any] = {}
        if "$ref" in value:
            target = self._schemas.target(value["$ref"], path)
            if target is not None:
                made["$ref"] = f"#/$defs/{self._schemas.define(target)}"
                self._into.refs.add(target)
                group.refs.append(target)
            if self._old:
                return made
        for name, part in value.items():
            if name in keywords.REFUSED:
                message = "schemas that move the base of references are not taken: write '$ref: #/components/schemas/…'"
                self._tell((*path, name), "openapi-unsupported", message)
            elif name in keywords.ASSERTIONS:
                self._assertion(made, name, part, path, group)
            else:
                self._applicator(made, name, part, (*path, name), group)
        self._not_required(made, value)
        return self._old_dialect(made, value) if self._old else made

    def _assertion(self, made: dict[str, Any], name: str, part: Any, path: Path, group: _Group) -> None:
        holds, must_be = keywords.ASSERTIONS[name]
        if self._old and name.startswith("exclusive") and isinstance(part, bool):
            return
        if not holds(part):
            self._tell((*path, name), "openapi-malformed", f"{show(part)} is not {must_be}: correct it")
            return
        if name == "pattern" and not self._takes(part, (*path, name)):
            return
        if name == "enum" and not all(isinstance(one, str) for one in part):
            group.cost += sum(_COMPARED if isinstance(one, (dict, list)) else 1 for one in part)
        made[name] = part

    def _takes(self, pattern: str, path: Path) -> bool:
        why = keywords.pattern_refused(pattern)
        if why is not None:
            message = f"{show(pattern)} is not a regular expression of RE2 ({why}): write it without"
            self._tell(path, "openapi-pattern", message)
        return why is None

    def _applicator(self, made: dict[str, Any], name: str, part: Any, path: Path, group: _Group) -> None:
        if name in keywords.HERE:
            made[name] = self._schema(part, path, group)
        elif name in keywords.INSIDE:
            made[name] = self.whole(part, path)
        elif name in keywords.HERE_LISTS | keywords.INSIDE_LISTS:
            if not isinstance(part, list) or not part:
                self._tell(path, "openapi-malformed", f"{show(part)} is not a list of schemas: write one")
                return
            here = name in keywords.HERE_LISTS
            made[name] = [
                self._schema(one, (*path, index), group) if here else self.whole(one, (*path, index))
                for index, one in enumerate(part)
            ]
        elif name in keywords.HERE_MAPS | keywords.INSIDE_MAPS:
            self._map(made, name, part, path, group)

    def _map(self, made: dict[str, Any], name: str, part: Any, path: Path, group: _Group) -> None:
        if not isinstance(part, dict):
            self._tell(path, "openapi-malformed", f"{show(part)} is not a mapping of schemas: write one")
            return
        if name == "patternProperties":
            part = {key: one for key, one in part.items() if self._takes(key, (*path, key))}
            group.cost += len(part)
        elif name == "properties":
            self._into.names.update(part)
        here = name in keywords.HERE_MAPS
        made[name] = {
            key: self._schema(one, (*path, key), group) if here else self.whole(one, (*path, key))
            for key, one in part.items()
        }

    def _not_required(self, made: dict[str, Any], value: dict[str, Any]) -> None:
        properties = value.get("properties")
        if "required" in made and isinstance(properties, dict):
            made["required"] = [name for name in made["required"] if not self._is_read_only(properties.get(name))]

    def _is_read_only(self, schema: Any) -> bool:
        for _ in range(_READ_ONLY_HOPS):
            if not isinstance(schema, dict):
                return False
            if schema.get("readOnly") is True:
                return True
            ref = schema.get("$ref")
            target = pointed(self._document, ref) if isinstance(ref, str) else None
            if target is None:
                return False
            schema = at(self._document, target)
        return False

    def _old_dialect(self, made: dict[str, Any], value: dict[str, Any]) -> Schema:
        for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if value.get(exclusive) is True and bound in made:
                made[exclusive] = made.pop(bound)
        if value.get("nullable") is not True:
            return made
        plain = made.keys() <= keywords.ASSERTIONS.keys() | keywords.INSIDE | keywords.INSIDE_MAPS
        if not plain or "const" in made or not isinstance(made.get("type"), str):
            return {"anyOf": [{"type": "null"}, made]}
        nothing = {"enum": [*made["enum"], None]} if "enum" in made and None not in made["enum"] else {}
        return made | {"type": [made["type"], "null"]} | nothing


def at(document: Any, path: Path) -> Any:
    """Return what stands at a path that leads somewhere."""
    for step in path:
        document = document[step]
    return document


def pointed(document: Any, ref: str) -> Path | None:
    """Return where a reference leads inside the document; None when it does not."""
    if ref == "#":
        return ()
    if not ref.startswith("#/"):
        return None
    path: list[str | int] = []
    for part in unquote(ref[2:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict) and name in document:
            path.append(name)
            document = document[name]
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            path.append(int(name))
            document = document[int(name)]
        else:
            return None
    return tuple(path)


_NOT_READ = frozenset({"example", "examples", "default", "enum", "const"})


def references(value: Any) -> Iterator[tuple[Path, str]]:
    """Yield each `$ref` of a document with the path of what holds it; examples and extensions hold none."""
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("$ref"), str):
                yield path, one["$ref"]
            waiting += [
                ((*path, name), inner)
                for name, inner in one.items()
                if isinstance(inner, (dict, list))
                and (name not in _NOT_READ or path[-1:] == ("properties",))
                and not name.startswith("x-")
            ]
        elif isinstance(one, list):
            waiting += [((*path, index), inner) for index, inner in enumerate(one) if isinstance(inner, (dict, list))]
