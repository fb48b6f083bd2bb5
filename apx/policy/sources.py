"""Which files make one policy: its package, every package that it refers to, and the data that those read.

A policy's build must not change when an unrelated policy's files change, so only this closure is given to opa.
References are found in the text, not in opa's syntax tree: a match in a string or comment only makes the closure
larger, and every reference to other packages or to data starts with the word `data`. Where a path cannot be followed
(`data.lib[x]`), everything under the part that is known belongs to the closure. `data` as a whole is not followed:
it holds the rule that reads it, and opa refuses that as recursive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import msgspec

from apx.errors import PolicyRejected

DataPath = tuple[str, ...]

_PACKAGE = re.compile(r"^\s*package\s+(?P<path>\S+)", re.MULTILINE)
_REF = re.compile(r"""(?<![\w."])data(?P<path>(?:\s*\.\s*\w+|\s*\[\s*"(?:[^"\\]|\\.)*"\s*\])+)""")
_STEP = re.compile(r"""\.?\s*(?P<name>\w+)|\[\s*(?P<key>"(?:[^"\\]|\\.)*")\s*\]""")
_COMMENT_LINE = re.compile(r"^\s*#.*$", re.MULTILINE)

TEST_SUFFIX = "_test.rego"
DATA_FILES = frozenset({"data.json", "data.yaml", "data.yml"})


class Source(msgspec.Struct, frozen=True):
    """One file under the policies' root."""

    name: str
    """Relative to the root, with forward slashes."""
    content: bytes

    @property
    def mount(self) -> DataPath:
        """Where a data file's content appears under `data`."""
        return PurePosixPath(self.name).parent.parts


class Closure(msgspec.Struct, frozen=True):
    """The files of one policy, each list sorted by name, and the paths of `data` that its modules mention."""

    package: str
    own: tuple[Source, ...]
    modules: tuple[Source, ...]
    documents: tuple[Source, ...]
    refs: frozenset[DataPath]


def closure(root: Path, package: str, *, tests: bool = False) -> Closure:
    """Collect what `package` is made of, with its tests if asked. Raises `PolicyRejected` when it has no module."""
    modules, documents = scan(root, tests=tests)
    by_package: dict[DataPath, list[Source]] = {}
    for source in modules:
        by_package.setdefault(package_of(source), []).append(source)
    start = tuple(package.split("."))
    if start not in by_package:
        known = ", ".join(sorted(".".join(path) for path in by_package)) or "none"
        raise PolicyRejected(f"{root}: there is no package {package!r}; there are: {known}")
    reached: set[DataPath] = set()
    refs: set[DataPath] = {start}
    waiting = [path for path in (start, tests_of(start)) if path in by_package]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        for source in by_package[path]:
            mentioned = references(source)
            refs |= mentioned
            waiting.extend(other for other in by_package if _touches(other, mentioned))
    chosen = sorted((source for path in reached for source in by_package[path]), key=lambda s: s.name)
    return Closure(
        package,
        tuple(sorted(by_package[start], key=lambda s: s.name)),
        tuple(chosen),
        tuple(source for source in documents if _touches(source.mount, refs)),
        frozenset(refs),
    )


def package_of(source: Source) -> DataPath:
    """Return the package that a module names; its own file name when it names none (opa then says what is wrong)."""
    text = _COMMENT_LINE.sub("", source.content.decode(errors="replace"))
    match = _PACKAGE.search(text)
    return _steps(match["path"]) if match else ("", source.name)


def references(source: Source) -> set[DataPath]:
    """Return the paths under `data` that a module mentions, each as far as it is constant."""
    text = source.content.decode(errors="replace")
    if "`" not in text:  # a raw string may hold lines that only look like comments
        text = _COMMENT_LINE.sub("", text)
    return {_steps(match["path"]) for match in _REF.finditer(text)}


def select(document: object, refs: Iterable[DataPath]) -> object:
    """Keep of a JSON document only what lies on or under one of the paths."""
    paths = set(refs)
    if () in paths or not isinstance(document, dict):
        return document
    kept = {}
    for name, value in document.items():
        below = {path[1:] for path in paths if path[0] == name}
        if below:
            kept[name] = select(value, below)
    return kept


def tests_of(package: DataPath) -> DataPath:
    """Return the package that holds a package's tests, by opa's convention."""
    return (*package[:-1], f"{package[-1]}_test")


def scan(root: Path, *, tests: bool = False) -> tuple[list[Source], list[Source]]:
    """Read every module and data document under a root. Raises `PolicyRejected` for what leads out of it."""
    if not root.is_dir():
        raise PolicyRejected(f"{root}: is not a folder")
    modules: list[Source] = []
    documents: list[Source] = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in PurePosixPath(name).parts):
            continue
        wanted = path.suffix == ".rego" or path.name in DATA_FILES
        if not wanted or (path.name.endswith(TEST_SUFFIX) and not tests):
            continue
        if path.resolve().is_relative_to(root.resolve()) and path.is_file():
            (modules if path.suffix == ".rego" else documents).append(Source(name, path.read_bytes()))
        else:
            raise PolicyRejected(f"{root / name}: is not a regular file inside {root}")
    return modules, documents


def lay_out(folder: Path, sources: Iterable[Source]) -> None:
    """Write sources into a folder, for opa to read and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        target = folder / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.content)


def _touches(path: DataPath, refs: Iterable[DataPath]) -> bool:
    return any(path[: len(ref)] == ref or ref[: len(path)] == path for ref in refs)


def _steps(text: str) -> DataPath:
    steps = []
    for match in _STEP.finditer(text):
        try:
            steps.append(match["name"] or json.loads(match["key"]))
        except ValueError:
            break
    return tuple(steps)
