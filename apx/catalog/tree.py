"""The files of a gitops tree, read with bounds: what a tree costs does not depend on what somebody put into it.

    products/<name>/product.yaml    plans/<name>.yaml    orgs/<name>.yaml    policies/<package path>/*.rego

Hidden files and files of other kinds (a README, a JWKS) are left alone; a YAML file that nothing would read is a
mistake, and so is a symbolic link, wherever it leads.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from apx.catalog.mistakes import MOST_MISTAKES, Mistake, did_you_mean

MOST_FILE_BYTES = 1_048_576
MOST_TREE_BYTES = 32 * 1_048_576
"""Of all files that are read: room for some 25,000 products; keeps reading within 512 MB."""
MOST_FILES = 100_000

_FOLDERS = ("products", "plans", "orgs", "policies", "schemas", "crds")
"""The last two are read by editors and clusters."""
_YAML = (".yaml", ".yml")


class FileRefused(Exception):
    """A file that is not read; `code` and the message are the mistake's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Source(NamedTuple):
    """The bytes of one YAML file."""

    file: str
    raw: bytes
    modeline: str
    """What the first line has to be."""


class Tree:
    """The files of a tree by kind and name (None: unreadable, but there), its Rego packages, its mistakes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.products: dict[str, Source | None] = {}
        self.plans: dict[str, Source | None] = {}
        self.orgs: dict[str, Source | None] = {}
        self.packages: dict[str, str] = {}
        """Rego package → the first file that declares it (tests aside)."""
        self.beside: dict[str, list[Path]] = {}
        """Product → the YAML files beside its product.yaml: one may be the OpenAPI document that it names."""
        self.mistakes: list[Mistake] = []
        self._bytes = 0
        self._files = 0

    @property
    def full(self) -> bool:
        """Whether there are so many mistakes that no more files need be read."""
        return len(self.mistakes) > MOST_MISTAKES

    def label(self, path: Path) -> str:
        """Return the name of a file as mistakes show it, relative to the folder that holds the tree."""
        return os.fsdecode(Path(self.root.name, path.relative_to(self.root)))

    def add(self, path: Path, code: str, message: str) -> None:
        """Note a mistake that concerns a whole file or folder."""
        self.mistakes.append(Mistake(self.label(path), 1, 1, code, message))

    def read(self, path: Path, most_bytes: int = MOST_FILE_BYTES) -> bytes:
        """Return a file's bytes. Raises `FileRefused` over the bounds, for what is no plain file, or unreadable."""
        if self._bytes > MOST_TREE_BYTES:
            raise FileRefused("tree-too-large", f"the tree has more than {MOST_TREE_BYTES} bytes: split it")
        raw = _read_plain_file(path, most_bytes)
        self._bytes += len(raw)
        return raw

    def read_inside(self, folder: Path, name: str, most_bytes: int = MOST_FILE_BYTES) -> bytes:
        """Read the file `name` (`a/b.json`) of a folder through no symbolic link. Raises `FileRefused`."""
        path = folder
        for part in name.split("/"):
            path /= part
            if os.path.islink(path):  # noqa: PTH114 - False also for a name that no file system takes
                raise FileRefused("symlink", "a symbolic link leads there: put the file itself here")
        return self.read(path, most_bytes)

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """List a folder by name, without hidden entries and without symbolic links, which are noted as mistakes."""
        try:
            with os.scandir(folder) as found:
                listed = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            self.add(folder, "file-unreadable", f"the folder cannot be read: {error.strerror}")
            return []
        self._files += len(listed)
        if self._files > MOST_FILES:
            raise FileRefused("tree-too-large", f"the tree has more than {MOST_FILES} files: split it")
        for entry in listed:
            if entry.is_symlink():
                self.add(Path(entry.path), "symlink", "this is a symbolic link: put the file itself here")
        return [entry for entry in listed if not entry.is_symlink()]


def read_tree(root: Path) -> Tree:
    """Read every file of the tree at `root`, which must be a folder."""
    tree = Tree(root)
    try:
        _check_top(tree)
        _read_products(tree, root / "products")
        _read_flat(tree, root / "plans", tree.plans, "plan")
        _read_flat(tree, root / "orgs", tree.orgs, "org")
        _read_policies(tree, root / "policies")
    except FileRefused as refused:
        tree.add(root, refused.code, str(refused))
    return tree


def _check_top(tree: Tree) -> None:
    entries = tree.entries(tree.root)
    for entry in entries:
        if entry.name not in _FOLDERS and (entry.is_dir() or entry.name.endswith(_YAML)):
            tree.add(
                Path(entry.path), "file-misplaced", f"nothing reads '{entry.name}'{did_you_mean(entry.name, _FOLDERS)}"
            )
    folders = {entry.name for entry in entries if entry.is_dir()}
    for name in ("products", "plans", "orgs"):
        if name not in folders:
            tree.add(tree.root, "folder-missing", f"there is no folder '{name}': make it")


def _read_products(tree: Tree, folder: Path) -> None:
    if not _is_folder(folder):
        return
    entries = tree.entries(folder)
    _check_case(tree, entries)
    for entry in entries:
        path = Path(entry.path)
        if tree.full:
            return
        if entry.is_dir():
            _read_product(tree, path)
        elif entry.name.endswith(_YAML):
            tree.add(path, "file-misplaced", f"nothing reads this file: move it to {path.stem}/product.yaml")


def _read_product(tree: Tree, folder: Path) -> None:
    tree.products[folder.name] = None
    for entry in tree.entries(folder):
        if entry.name == "product.yaml":
            tree.products[folder.name] = _read(tree, folder / "product.yaml", "../../schemas/product.json")
        elif entry.name.endswith(_YAML):
            tree.beside.setdefault(folder.name, []).append(Path(entry.path))
    if not os.path.lexists(folder / "product.yaml"):
        tree.add(folder, "product-missing", "the folder has no product.yaml: write it or remove the folder")


def _read_flat(tree: Tree, folder: Path, into: dict[str, Source | None], kind: str) -> None:
    if not _is_folder(folder):
        return
    entries = tree.entries(folder)
    _check_case(tree, entries)
    for entry in entries:
        path = Path(entry.path)
        if tree.full:
            return
        if entry.name.endswith(".yaml"):
            into[path.stem] = _read(tree, path, f"../schemas/{kind}.json")
        elif entry.name.endswith(".yml") or entry.is_dir():
            tree.add(
                path, "file-misplaced", f"nothing reads this: a {kind} is one file, {path.stem}.yaml in this folder"
            )


def _read(tree: Tree, path: Path, schema: str) -> Source | None:
    try:
        raw = tree.read(path)
    except FileRefused as refused:
        tree.add(path, refused.code, str(refused))
        return None
    return Source(tree.label(path), raw, f"# yaml-language-server: $schema={schema}")


def _read_policies(tree: Tree, folder: Path) -> None:
    if not _is_folder(folder):
        return
    for path in _rego_files(tree, folder):
        if tree.full:
            return
        try:
            package = _package(tree.read(path))
        except FileRefused as refused:
            tree.add(path, refused.code, str(refused))
            continue
        expected = ".".join(path.parent.relative_to(folder).parts)
        if package and package != expected:
            way_out = f"declare '{expected}', or move the file to policies/{package.replace('.', '/')}/"
            tree.add(path, "policy-misplaced", f"the file declares package '{package}': {way_out}")
        if package:
            tree.packages.setdefault(package, tree.label(path))


def _rego_files(tree: Tree, folder: Path) -> Iterator[Path]:
    folders = [folder]
    while folders:
        entries = tree.entries(folders.pop())
        folders += [Path(entry.path) for entry in entries if entry.is_dir()]
        for entry in entries:
            if entry.name.endswith(".rego") and not entry.name.endswith("_test.rego"):
                yield Path(entry.path)


def _package(raw: bytes) -> str | None:
    """Return the package that a Rego file declares: its first statement."""
    for line in raw.decode(errors="replace").split("\n"):
        words = line.partition("#")[0].split()
        if words:
            return words[1] if words[0] == "package" and len(words) > 1 else None
    return None


def _check_case(tree: Tree, entries: list[os.DirEntry[str]]) -> None:
    """Two names that some file systems cannot keep apart are one name too many."""
    seen: dict[str, str] = {}
    for entry in entries:
        folded = unicodedata.normalize("NFKC", entry.name).casefold()
        other = seen.setdefault(folded, entry.name)
        if other != entry.name:
            message = f"differs from '{other}' only in capitals: not every file system keeps them apart; rename one"
            tree.add(Path(entry.path), "name-case-collision", message)


def _is_folder(path: Path) -> bool:
    """Whether a folder itself stands there, not a link to one; links are noted where they are listed."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _read_plain_file(path: Path, most_bytes: int) -> bytes:
    """Read without following a link and without waiting at a pipe, up to the bound."""
    try:
        with open(path, "rb", opener=_open_as_it_stands) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileRefused("file-unreadable", "this is not a plain file: put one here")
            if status.st_size > most_bytes:
                message = f"the file has {status.st_size} bytes, more than {most_bytes}: make it smaller"
                raise FileRefused("file-too-large", message)
            return file.read(most_bytes)
    except OSError as error:
        raise FileRefused("file-unreadable", f"the file cannot be read: {error.strerror}") from error


def _open_as_it_stands(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
