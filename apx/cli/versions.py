"""What `apx policy diff` and `replay` compare: a gitops tree in a folder or at a commit, or a stored release."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from apx import bootstrap
from apx.catalog.load import load_catalog
from apx.catalog.model import Catalog
from apx.cli.release import full_digest
from apx.errors import ApxError, Conflict, InvalidCatalog, NotFound, PolicyRejected
from apx.policy.sources import Closure, closure
from apx.release.digest import short
from apx.release.model import Release
from apx.settings import Settings


class Version(Protocol):
    """One side of a comparison."""

    @property
    def label(self) -> str:
        """Return what it is, for people."""
        ...

    def products(self) -> list[str]:
        """Return the products in it, sorted."""
        ...

    def releases(self, products: Iterable[str]) -> dict[str, Release]:
        """Return the releases of some of its products. Raises `PolicyRejected` with all that is wrong."""
        ...

    def sources(self, product: str) -> Closure | None:
        """Return the sources of a product's policy with their tests; None where it has none."""
        ...

    def is_like(self, other: Version, product: str) -> bool:
        """Tell, without compiling, whether a product is certainly the same in both."""
        ...


@contextmanager
def version(settings: Settings, name: str, gitops: Path) -> Iterator[Version]:
    """Find what a name stands for: a folder with a gitops tree, a release, or a commit of `gitops`' repository.

    Raises `NotFound`, `Conflict` where it may be two things, and what is wrong with the tree.
    """
    folder = Path(name)
    if is_tree(folder):
        yield _tree(settings, f"folder {name}", folder, shown_root=str(folder))
        return
    commits = bootstrap.commits(gitops)
    commit = None if name.startswith("sha256:") else commits.resolve(name)
    digest = asyncio.run(_stored(settings, name))
    if commit is not None and digest is not None:
        raise Conflict(f"{name!r} is a commit and a release: write sha256:{short(digest)} for the release")
    if digest is not None:
        yield ReleaseVersion(asyncio.run(bootstrap.loader(settings).load(digest)))
    elif commit is not None:
        with TemporaryDirectory(prefix="apx-commit-") as temporary:
            tree = Path(temporary) / gitops.absolute().name
            commits.lay_out(commit, tree)
            label = f"commit {commit[:12]}" if commit.startswith(name) else f"{name} (commit {commit[:12]})"
            yield _tree(settings, label, tree, shown_root=f"{name}:{gitops.absolute().name}")
    else:
        raise NotFound(
            f"{name!r} is neither a folder with a gitops tree, nor a stored release, nor a commit of the repository "
            f"that holds {gitops}"
        )


def is_tree(folder: Path) -> bool:
    """Tell whether a folder looks like a gitops tree, right or wrong."""
    try:
        return (folder / "products").is_dir() or (folder / "plans").is_dir()
    except (OSError, ValueError):
        return False


class TreeVersion:
    """A gitops tree."""

    def __init__(self, settings: Settings, label: str, catalog: Catalog, shown_root: str) -> None:
        self.label = label
        self._catalog = catalog
        self._settings = settings
        self._shown_root = shown_root
        self._closures: dict[str, Closure] = {}

    def products(self) -> list[str]:
        """Return the products of the tree."""
        return sorted(self._catalog.products)

    def releases(self, products: Iterable[str]) -> dict[str, Release]:
        """Compile and test some products."""
        with _named(self.label, self._catalog.root, self._shown_root):
            drafts = asyncio.run(bootstrap.drafter(self._settings).draft(self._catalog, products))
        return {release.manifest.product: release for release in drafts}

    def sources(self, product: str) -> Closure | None:
        """Return the files of a product's policy."""
        package = self._catalog.products[product].spec.policy.package
        if package not in self._closures:
            with _named(self.label, self._catalog.root, self._shown_root):
                self._closures[package] = closure(Path(self._catalog.root) / "policies", package, tests=True)
        return self._closures[package]

    def is_like(self, other: Version, product: str) -> bool:
        """Compare spec, plans and policy's files."""
        if not isinstance(other, TreeVersion):
            return False
        return self.said(product) == other.said(product) and self.sources(product) == other.sources(product)

    def said(self, product: str) -> tuple[object, ...]:
        """Return a product's spec and plans."""
        spec = self._catalog.products[product].spec
        return spec, *(self._catalog.plans[plan] for plan in spec.plans)


class ReleaseVersion:
    """One stored release, verified."""

    def __init__(self, release: Release) -> None:
        self.label = f"release {short(release.digest)}"
        self._release = release

    def products(self) -> list[str]:
        """Return the release's product."""
        return [self._release.manifest.product]

    def releases(self, products: Iterable[str]) -> dict[str, Release]:
        """Return the release, where it is asked for."""
        product = self._release.manifest.product
        return {product: self._release} if product in set(products) else {}

    def sources(self, product: str) -> Closure | None:  # noqa: ARG002 -- a release holds none
        """Return None: a release holds no sources."""
        return None

    def is_like(self, other: Version, product: str) -> bool:
        """Compare the digests of two releases."""
        return isinstance(other, ReleaseVersion) and other.releases([product]) == {product: self._release}


def _tree(settings: Settings, label: str, folder: Path, *, shown_root: str) -> TreeVersion:
    with _named(label, str(folder.absolute()), shown_root):
        return TreeVersion(settings, label, load_catalog(folder), shown_root)


@contextmanager
def _named(label: str, root: str, shown_root: str) -> Iterator[None]:
    """Say in an error which side it is of, and not where that was laid out."""
    try:
        yield
    except (InvalidCatalog, PolicyRejected) as error:
        raise _type_of(error)(f"{label}:\n{str(error).replace(root, shown_root)}") from error


def _type_of(error: ApxError) -> type[ApxError]:
    """Return the plain kind: an `InvalidTree` is made of mistakes, not of text."""
    return InvalidCatalog if isinstance(error, InvalidCatalog) else PolicyRejected


async def _stored(settings: Settings, name: str) -> str | None:
    try:
        return await full_digest(settings, name)
    except NotFound:
        return None
