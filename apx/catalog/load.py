"""Read a gitops tree and say everything that is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

from apx.catalog.document import read_document
from apx.catalog.findings import Findings
from apx.catalog.limit_checks import check_org_limits, check_plan_limits
from apx.catalog.mistakes import MOST_MISTAKES, Mistake
from apx.catalog.model import Catalog, Org, Plan, Product, ProductSpec
from apx.catalog.openapi.check import check_openapi
from apx.catalog.product_checks import check_product
from apx.catalog.resources import OrgResource, PlanResource, ProductResource
from apx.catalog.structure import R, structure
from apx.catalog.tree import Source, Tree, read_tree
from apx.catalog.tree_checks import check_base_paths, check_entitlements, check_name, check_plans, check_product_name
from apx.errors import InvalidCatalog

_MOST_SHOWN_IN_ERROR = 20


class InvalidTree(InvalidCatalog):
    """A gitops tree with mistakes, all of them in `mistakes`."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        shown = [str(mistake) for mistake in mistakes[:_MOST_SHOWN_IN_ERROR]]
        more = len(mistakes) - len(shown)
        super().__init__("\n".join([*shown, f"and {more} more" if more else ""]).rstrip())
        self.mistakes = mistakes


def load_catalog(root: Path) -> Catalog:
    """Return the catalog of the tree at `root`. Raises `InvalidTree` (an `InvalidCatalog`) with all its mistakes."""
    catalog, mistakes = find_mistakes(root)
    if catalog is None:
        raise InvalidTree(mistakes)
    return catalog


def find_mistakes(root: Path) -> tuple[Catalog | None, list[Mistake]]:
    """Return the catalog, or None and what is wrong, by file and line. Raises nothing, whatever the tree holds."""
    try:
        root = Path(os.path.abspath(root))  # noqa: PTH100 - without following links, as a mistake names the file
    except FileNotFoundError:  # the working folder is gone
        return None, [Mistake(str(root), 1, 1, "tree-missing", "there is no such folder: give the gitops tree")]
    if not os.path.isdir(root):  # noqa: PTH112 - False also for a name that no file system takes
        return None, [
            Mistake(root.name, 1, 1, "tree-missing", f"there is no folder '{root.name}': give the gitops tree")
        ]
    reading = _Reading(read_tree(root))
    mistakes = sorted(set(reading.mistakes))
    if len(mistakes) > MOST_MISTAKES:
        message = f"there are more than {MOST_MISTAKES} mistakes: correct these first"
        mistakes = [*mistakes[:MOST_MISTAKES], Mistake(root.name, 1, 1, "too-many-mistakes", message)]
    return (None, mistakes) if mistakes else (reading.catalog(), [])


class _Reading:
    """The tree's resources, checked one by one and then against each other."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.mistakes = list(tree.mistakes)
        self._plans = self._read(tree.plans, PlanResource, "file")
        for plan, findings in self._plans.values():
            check_plan_limits(findings, plan.spec)
        self._products = self._read(tree.products, ProductResource, "folder")
        self._orgs = self._read(tree.orgs, OrgResource, "file")
        self._documents: dict[str, bytes] = {}
        self._specs = self._check_products()
        self._check_files_beside()
        sound = {name: spec for name, spec in self._specs.items() if self._products[name][1].sound}
        for resource, findings in self._orgs.values():
            if self._enough:
                return
            check_entitlements(findings, resource.spec, tree.products, sound)
            check_org_limits(findings, resource.spec)

    @property
    def _enough(self) -> bool:
        return len(self.mistakes) > MOST_MISTAKES

    def catalog(self) -> Catalog:
        root = self._tree.root
        return Catalog(
            root=str(root),
            products={
                name: Product(
                    name=name, spec=spec, folder=str(root / "products" / name), openapi=self._documents.get(name)
                )
                for name, spec in self._specs.items()
            },
            plans={name: Plan(name=name, spec=plan.spec) for name, (plan, _) in self._plans.items()},
            orgs={name: Org(name=name, spec=org.spec) for name, (org, _) in self._orgs.items()},
        )

    def _read(self, sources: dict[str, Source | None], kind: type[R], place: str) -> dict[str, tuple[R, Findings]]:
        read = {}
        for name, source in sources.items():
            if source is None or self._enough:
                continue
            document, mistakes = read_document(*source)
            self.mistakes += mistakes
            if document is None:
                continue
            structured = structure(document, kind)
            self.mistakes += structured.mistakes
            if structured.resource is None:
                continue
            findings = Findings(document, structured.repaired, self.mistakes)
            check_name(findings, structured.resource.metadata.name, name, place)
            read[name] = structured.resource, findings
        return read

    def _check_products(self) -> dict[str, ProductSpec]:
        plans = {name: resource.spec for name, (resource, found) in self._plans.items() if found.sound}
        specs = {}
        for name, (resource, findings) in self._products.items():
            if self._enough:
                break
            check_product_name(findings, name)
            check_plans(findings, resource.spec, self._tree.plans, plans)
            folder = self._tree.root / "products" / name
            specs[name] = check_product(findings, resource.spec, self._tree, folder)
            self._check_openapi(name, findings, folder)
        check_base_paths([(name, spec, self._products[name][1]) for name, spec in specs.items()])
        return specs

    def _check_openapi(self, name: str, findings: Findings, folder: Path) -> None:
        document, mistakes = check_openapi(findings, self._products[name][0].spec, self._tree, folder)
        self.mistakes += mistakes
        if document is not None:
            self._documents[name] = document

    def _check_files_beside(self) -> None:
        """Note each YAML file in a product's folder that nothing reads."""
        for name, paths in self._tree.beside.items():
            if self._tree.products[name] is not None and name not in self._products:
                continue  # what the product says of them is not known
            named = self._products[name][0].spec.openapi if name in self._products else None
            for path in paths:
                if path.name != named:
                    message = "nothing reads this file: a product is one file, product.yaml, and what that names"
                    self.mistakes.append(Mistake(self._tree.label(path), 1, 1, "file-misplaced", message))
