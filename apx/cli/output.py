"""How the CLI says things: JSON when asked, tables otherwise, errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TextIO

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(_writable(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()) + "\n")


def json_line(value: Any) -> str:
    """Return a value as JSON in one line that stdout can write."""
    return _writable(msgspec.json.encode(value).decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; no colour and no frame when stdout is not a terminal."""
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        for row in (columns, *rows):
            sys.stdout.write("\t".join(map(str, row)) + "\n")
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def print_fields(shown: Mapping[str, object]) -> None:
    """Print what is known of one thing, a field a line: times (`…_ms`) for people, and nothing of what is empty."""
    moments = {name: moment(at / 1000) for name, at in shown.items() if name.endswith("_ms") and isinstance(at, int)}
    rows = [(name.removesuffix("_ms"), moments.get(name, value)) for name, value in shown.items() if value]
    print_table(["FIELD", "VALUE"], rows)


def print_blocks(drawn: RenderableType, plain: str) -> None:
    """Print what is drawn on a terminal, and plain text elsewhere, each after an empty line."""
    console = Console()
    sys.stdout.write("\n")
    console.print(drawn) if console.is_terminal else sys.stdout.write(plain + "\n")


def moment(seconds: float) -> str:
    """Write a time for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def write_anything(*streams: TextIO) -> None:
    """Let streams that do not know every character, as in a C locale, write the others by their numbers."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _writable(document: str) -> str:
    """Return a JSON document in characters that stdout can write."""
    try:
        document.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(json.loads(document), indent=2 if "\n" in document else None)
    return document
