"""`apx validate`: everything that is wrong with a gitops tree, before anything is built from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from apx.catalog.load import find_mistakes
from apx.catalog.mistakes import Mistake
from apx.catalog.model import Catalog
from apx.cli.output import AsJson, print_json


def validate(
    path: Annotated[Path, typer.Argument(help="The gitops tree.")] = Path("gitops"),
    json: AsJson = False,
) -> None:
    """Check a gitops tree: fields, limits, routes, addresses, references. `apx policy test` compiles its policies."""
    catalog, mistakes = find_mistakes(path)
    if json:
        print_json({"valid": not mistakes, **_counts(catalog), "mistakes": mistakes})
    else:
        for mistake in mistakes:
            _print(str(mistake))
        _print(f"{path}: {_summary(catalog, mistakes)}")
    raise typer.Exit(1 if mistakes else 0)


def _counts(catalog: Catalog | None) -> dict[str, int]:
    if catalog is None:
        return {}
    return {"products": len(catalog.products), "plans": len(catalog.plans), "orgs": len(catalog.orgs)}


def _summary(catalog: Catalog | None, mistakes: list[Mistake]) -> str:
    if catalog is None:
        return f"{_count(len(mistakes), 'mistake')} in {_count(len({m.file for m in mistakes}), 'file')}"
    return (
        ", ".join(_count(count, what.removesuffix("s")) for what, count in _counts(catalog).items()) + ", no mistakes"
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _print(text: str) -> None:
    """Print on any terminal: one that knows only ASCII gets escapes, not an error."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
