"""`apx validate`: everything that is wrong with a gitops tree, before anything is built from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from apx.catalog.load import find_mistakes
from apx.catalog.mistakes import Mistake
from apx.catalog.model import Catalog


def validate(
    path: Annotated[Path, typer.Argument(help="The gitops tree.")] = Path("gitops"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a gitops tree: fields, limits, routes, addresses, references. Policies are compiled by `apx policy test`."""
    catalog, mistakes = find_mistakes(path)
    if json:
        print(_as_json(catalog, mistakes))
    else:
        _print_lines(path, catalog, mistakes)
    raise typer.Exit(1 if mistakes else 0)


def _as_json(catalog: Catalog | None, mistakes: list[Mistake]) -> str:
    counts = {} if catalog is None else _counts(catalog)
    return msgspec.json.encode({"valid": not mistakes, "mistakes": mistakes, **counts}).decode()


def _print_lines(path: Path, catalog: Catalog | None, mistakes: list[Mistake]) -> None:
    for mistake in mistakes:
        _print(str(mistake))
    if catalog is None:
        files = len({mistake.file for mistake in mistakes})
        _print(f"{path}: {len(mistakes)} mistake{'s' * (len(mistakes) != 1)} in {files} file{'s' * (files != 1)}")
    else:
        _print(f"{path}: " + ", ".join(f"{count} {what}" for what, count in _counts(catalog).items()) + ", no mistakes")


def _counts(catalog: Catalog) -> dict[str, int]:
    return {"products": len(catalog.products), "plans": len(catalog.plans), "orgs": len(catalog.orgs)}


def _print(text: str) -> None:
    """Print on any terminal: one that knows only ASCII gets escapes, not an error."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
