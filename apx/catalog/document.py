"""One YAML file: its value, and the line and column of each part of it.

YAML as editors read it (the core schema of YAML 1.2): `no` and `1:30` are texts. What YAML 1.1 and 1.2 read differently
as a number (`010`, `0x1F`), anchors, aliases, tags, directives and several documents in one file are refused: a gitops
file says one plain thing. The C parser of libyaml reports events one by one; nothing is built that was not looked at,
so that a file cannot cost more than its size, its depth and its count of nodes allow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import yaml
from yaml import events

from apx.catalog.mistakes import Mistake, Path, show
from apx.catalog.scalars import NumberRefused, resolve_plain

DEEPEST = 32
MOST_NODES = 50_000


class Bounds(NamedTuple):
    """What a file may hold; `loose` reads other people's files: numbers as keys, numbers in every spelling."""

    deepest: int = DEEPEST
    most_nodes: int = MOST_NODES
    loose: bool = False


GITOPS = Bounds()
_LONGEST_WHOLE = 30

# What YAML 1.2 forbids, and what only YAML 1.1 takes for the end of a line: an editor would count other lines.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BOM = "\ufeff"


class Place(NamedTuple):
    """A line and a column, counted from 1."""

    line: int
    column: int


class Document:
    """A file that was read: `value` is its one document, in dicts, lists and scalars."""

    def __init__(self, file: str, text: str, value: Any, *, has_null: bool, bounds: Bounds = GITOPS) -> None:
        """Hold `value`; its places are looked up in `text`, YAML within `bounds`."""
        self.file = file
        self._bounds = bounds
        self.value = value
        self.has_null = has_null
        self._text = text
        self._marks: _Marks | None = None

    def holds(self, path: Path) -> bool:
        """Whether the file itself says something at `path`, so that it is not a default."""
        value = self.value
        for step in path:
            inside = step in value if isinstance(value, dict) else isinstance(value, list) and _index_in(value, step)
            if not inside:
                return False
            value = value[step]
        return True

    def mistake(self, path: Path, code: str, message: str, *, at_key: bool = False) -> Mistake:
        """Return a mistake at `path`, or at the nearest part around it that the file holds."""
        places = self._places()
        place = places.keys.get(path) if at_key else None
        while place is None:
            place = places.values.get(path)
            path = path[:-1]
        return Mistake(self.file, place.line, place.column, code, message)

    def _places(self) -> _Marks:
        """Read the text a second time, with its places: only a file with mistakes pays for them."""
        if self._marks is None:
            try:
                self._marks = _Composer(self._text, self._bounds, marks=_Marks({}, {})).marks
            except _Refused:  # JSON that is not YAML
                self._marks = _Marks({(): Place(1, 1)}, {})
        return self._marks


def read_document(file: str, raw: bytes, modeline: str) -> tuple[Document | None, list[Mistake]]:
    """Read a file that must start with `modeline`; None when it says nothing that could be checked further."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8: save the file as UTF-8"
        return None, [Mistake(file, line, column, "not-utf8", message)]
    mistakes = []
    if text.startswith(_BOM):
        mistakes.append(Mistake(file, 1, 1, "byte-order-mark", "there is a byte order mark: save as UTF-8 without one"))
        text = text[1:]
    if text.partition("\n")[0].rstrip() != modeline:
        mistakes.append(
            Mistake(file, 1, 1, "modeline-missing", f"the first line is not the modeline: write {modeline}")
        )
    return compose(file, text, mistakes)


def compose(
    file: str, text: str, mistakes: list[Mistake], bounds: Bounds = GITOPS
) -> tuple[Document | None, list[Mistake]]:
    """Read a file's text; `mistakes` are those known before."""
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        at = forbidden.start()
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        message = f"there is a character U+{ord(text[at]):04X}, which no YAML file needs: remove it"
        return None, [*mistakes, Mistake(file, line, column, "control-character", message)]
    try:
        composed = _Composer(text, bounds)
    except _Refused as refused:
        return None, [*mistakes, Mistake(file, *refused.place, refused.code, refused.message)]
    mistakes += [Mistake(file, *twice.place, twice.code, twice.message) for twice in composed.twice]
    return Document(file, text, composed.value, has_null=composed.has_null, bounds=bounds), mistakes


class _Marks(NamedTuple):
    values: dict[Path, Place]
    keys: dict[Path, Place]


class _Refused(Exception):
    def __init__(self, place: Place, code: str, message: str) -> None:
        super().__init__(message)
        self.place, self.code, self.message = place, code, message


class _Composer:
    """Events to values; raises `_Refused` at the first thing that makes the rest doubtful."""

    def __init__(self, text: str, bounds: Bounds, marks: _Marks | None = None) -> None:
        self._bounds = bounds
        self.twice: list[_Refused] = []
        self.has_null = False
        self._marks = marks
        self._nodes = 0
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        try:
            self.value = self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
            said = ", ".join(part for part in (error.context, error.problem) if part)
            raise _Refused(place, "yaml-syntax", f"this is not YAML: {said}") from error
        except yaml.YAMLError as error:
            raise _Refused(Place(1, 1), "yaml-syntax", f"this is not YAML: {show(str(error))}") from error

    @property
    def marks(self) -> _Marks:
        return self._marks or _Marks({}, {})

    def _document(self) -> Any:
        next(self._events)
        start = next(self._events)
        if isinstance(start, events.StreamEndEvent):
            raise _Refused(Place(1, 1), "file-empty", "the file says nothing: describe the resource or remove the file")
        if start.version or start.tags:
            _refuse(start, "yaml-directive", "there is a YAML directive: remove it")
        value = self._node(next(self._events), ())
        next(self._events)
        after = next(self._events)
        if not isinstance(after, events.StreamEndEvent):
            _refuse(
                after, "yaml-several-documents", "a second document starts here: put each resource into its own file"
            )
        return value

    def _node(self, event: Any, path: Path) -> Any:
        self._nodes += 1
        most, deepest = self._bounds.most_nodes, self._bounds.deepest
        if self._nodes > most:
            _refuse(event, "yaml-too-many-nodes", f"the file has more than {most} values: make it smaller")
        if event.anchor is not None:
            message = f"anchors and aliases are not taken ('{event.anchor[:40]}'): write the value out"
            _refuse(event, "yaml-alias", message)
        if event.tag is not None:
            _refuse(event, "yaml-tag", f"tags are not taken ({show(event.tag)}): write the plain value")
        if self._marks:
            self._marks.values[path] = _place(event)
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event)
        if len(path) >= deepest:
            _refuse(event, "yaml-too-deep", f"there are more than {deepest} levels: flatten the file")
        return self._list(path) if isinstance(event, events.SequenceStartEvent) else self._mapping(path)

    def _scalar(self, event: Any) -> Any:
        if not event.implicit[0]:
            return event.value
        try:
            value = resolve_plain(event.value)
        except NumberRefused as refused:
            if self._bounds.loose:
                whole = refused.code == "number-too-large" and len(event.value) <= _LONGEST_WHOLE
                return int(event.value) if whole else event.value
            _refuse(event, refused.code, str(refused))
        if value is None:
            self.has_null = True
        return value

    def _list(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), events.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while not isinstance(event := next(self._events), events.MappingEndEvent):
            key = self._key(event, path)
            if key in fields:
                message = f"{show(key)} stands here a second time: remove one of the two"
                self.twice.append(_Refused(_place(event), "yaml-duplicate-key", message))
                self._unmarked_node((*path, key))
                continue
            if self._marks:
                self._marks.keys[*path, key] = _place(event)
            fields[key] = self._node(next(self._events), (*path, key))
        return fields

    def _unmarked_node(self, path: Path) -> None:
        """Read a node whose value does not count, without touching the places of the one that does."""
        marks, self._marks = self._marks, None
        self._node(next(self._events), path)
        self._marks = marks

    def _key(self, event: Any, path: Path) -> str:
        if not isinstance(event, events.ScalarEvent):
            if isinstance(event, events.AliasEvent):
                self._node(event, path)
            _refuse(event, "yaml-key", "a list or mapping stands as a key: write a word")
        key = self._node(event, (*path, event.value))
        if self._bounds.loose:
            return str(event.value)
        if not isinstance(key, str):
            _refuse(event, "yaml-key", f'the key {event.value} is not text: write "{event.value}"')
        return key


def _index_in(items: list[Any], step: str | int) -> bool:
    return isinstance(step, int) and step < len(items)


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _refuse(event: Any, code: str, message: str) -> NoReturn:
    raise _Refused(_place(event), code, message)
