"""`apx product`: begin a product from what describes it already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from apx.catalog.load import find_mistakes
from apx.catalog.model import Name
from apx.catalog.openapi.document import MOST_BYTES, read_openapi
from apx.catalog.openapi.draft import draft, files
from apx.errors import Conflict, InvalidCatalog

app = typer.Typer(help="Begin a product from an OpenAPI document.", no_args_is_help=True)
_MOST_NOTES = 20


@app.callback()
def product() -> None:
    """Keep `import` a command of its own."""


@app.command("import")
def run(
    document: Annotated[Path, typer.Argument(help="An OpenAPI document, 3.0 or 3.1, YAML or JSON.")],
    name: Annotated[str | None, typer.Option(help="The product's name; made from the title when left out.")] = None,
    out: Annotated[Path, typer.Option(help="The gitops tree.")] = Path("gitops"),
    plan: Annotated[str | None, typer.Option(help="The plan that it is offered under; the tree's first.")] = None,
) -> None:
    """Write a product's folder, and a policy with its tests, that `apx validate` takes as they are."""
    raw = _read(document)
    read, mistakes = read_openapi(document.name, raw)
    if read is None:
        raise InvalidCatalog("\n".join(map(str, mistakes[:_MOST_NOTES])))
    if name is not None:
        _check_name(name)
    made = draft(read.value, name)
    chosen = plan or _first_plan(out)
    as_named = "openapi.json" if raw.lstrip().startswith(b"{") else "openapi.yaml"
    _write(out, files(made, raw, as_named, chosen))
    for note in made.notes[:_MOST_NOTES]:
        print(note)
    if len(made.notes) > _MOST_NOTES:
        print(f"and {len(made.notes) - _MOST_NOTES} more")
    print(f"{out}/products/{made.name}: {len(made.routes)} routes under {made.base_path}")
    left = [mistake for mistake in find_mistakes(out)[1] if f"products/{made.name}/" in mistake.file]
    for mistake in left:
        print(mistake)
    if left:
        raise typer.Exit(1)


def _read(document: Path) -> bytes:
    size = document.stat().st_size
    if size > MOST_BYTES:
        raise InvalidCatalog(f"{document} has {size} bytes, more than {MOST_BYTES}: leave out what is not served")
    return document.read_bytes()


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise InvalidCatalog(f"'{name}' is no name of a product: lower-case letters, digits and hyphens") from error


def _first_plan(out: Path) -> str:
    plans = sorted(path.stem for path in (out / "plans").glob("*.yaml"))
    if not plans:
        raise InvalidCatalog(f"{out} has no plan: write one first, or give the gitops tree as --out")
    return "free" if "free" in plans else plans[0]


def _write(out: Path, made: dict[str, bytes]) -> None:
    there = [name for name in made if (out / name).exists()]
    if there:
        raise Conflict(f"{out / there[0]} is there already: give another --name, or remove it")
    for name, content in made.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
