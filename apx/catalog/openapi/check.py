"""What is wrong with a product's OpenAPI document, in the document and in the product that names it."""

from __future__ import annotations

import json
from pathlib import Path as FilePath

from apx.catalog.document import Document
from apx.catalog.findings import Findings
from apx.catalog.mistakes import Mistake, Path, show_path
from apx.catalog.model import ProductSpec
from apx.catalog.openapi.compile import NotCompiled, compile_operations
from apx.catalog.openapi.document import MOST_BYTES, read_openapi
from apx.catalog.openapi.operations import Operations, read_operations
from apx.catalog.tree import FileRefused, Tree

_MOST_OF_ONE_DOCUMENT = 100


def check_openapi(
    findings: Findings, spec: ProductSpec, tree: Tree, folder: FilePath
) -> tuple[bytes | None, list[Mistake]]:
    """Return the document that a product names as JSON, and the mistakes in it; those in the product are noted."""
    if spec.openapi is None:
        if findings.document.holds(("spec", "openapi_mode")):
            message = "there is no document to hold requests against: name it as openapi, or remove this"
            findings.add(("spec", "openapi_mode"), "openapi-mode-alone", message, at_key=True)
        return None, []
    try:
        raw = tree.read_inside(folder, spec.openapi, MOST_BYTES)
    except FileRefused as refused:
        findings.add(("spec", "openapi"), "openapi-unreadable", f"'{spec.openapi}': {refused}")
        return None, []
    document, mistakes = read_openapi(tree.label(folder / spec.openapi), raw)
    if document is None:
        return None, mistakes
    checked = _Checked(findings, spec, document)
    if checked.mistakes:
        return None, checked.mistakes
    return json.dumps(document.value, ensure_ascii=False, separators=(",", ":")).encode(), []


class _Checked:
    def __init__(self, findings: Findings, spec: ProductSpec, document: Document) -> None:
        self._findings = findings
        self._spec = spec
        self._document = document
        self.mistakes: list[Mistake] = []
        operations = read_operations(document.value, spec.base_path, spec.routes, self._tell, self._lack)
        if not self.mistakes:
            self._compile(operations)

    def _compile(self, operations: Operations) -> None:
        try:
            compile_operations(operations)
        except NotCompiled as refused:
            self._tell((), "openapi-unsupported", f"{refused}: simplify the schema")

    def _tell(self, path: Path, code: str, message: str) -> None:
        if len(self.mistakes) < _MOST_OF_ONE_DOCUMENT:
            shown = f"{show_path(path)}: {message}" if path else message
            self.mistakes.append(self._document.mistake(path, code, shown))

    def _lack(self, index: int, field: str, code: str, message: str) -> None:
        path: Path = ("spec", "routes", index, field)
        self._findings.add(path, code, f"{self._document.file}: {message}")
