"""The table and the JSON document of a run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench.machine import Machine
from tests.bench.row import Row


def as_json(machine: Machine, rows: Sequence[Row]) -> str:
    """Return the run as one JSON object."""
    return msgspec.json.encode({"machine": machine, "rows": rows}).decode() + "\n"


def print_table(machine: Machine, rows: Sequence[Row]) -> None:
    """Print the run for people: the machine, the figures, then what each peer does more or less."""
    console = Console(soft_wrap=True)
    console.print(machine.text(), highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    for name in ("row", "median", "min–max"):
        table.add_column(name, no_wrap=True, justify="left" if name == "row" else "right")
    table.add_column("peer", no_wrap=True)
    for name in ("median", "min–max", "ratio"):
        table.add_column(name, no_wrap=True, justify="right")
    for name in ("goal", "met"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    width = max(console.width, 200)
    Console(width=width, highlight=False).print(table)
    console.print()
    for row in rows:
        if row.note or row.error:
            console.print(f"{row.name}: {row.error or row.note}", highlight=False, markup=False)


def _cells(row: Row) -> tuple[str, ...]:
    if row.error:
        return (row.name, "not measured", "", "", "", "", "", row.goal, "")
    return (
        row.name,
        f"{_figure(row.value)} {row.unit}",
        _range(row.range),
        row.peer,
        "" if row.peer_value is None else f"{_figure(row.peer_value)} {row.unit}",
        _range(row.peer_range),
        "" if row.ratio is None else f"{row.ratio:.2f}×",
        row.goal,
        {True: "yes", False: "NO", None: ""}[row.met],
    )


def _range(found: tuple[float, float] | None) -> str:
    if found is None or found[0] == found[1]:
        return ""
    return f"{_figure(found[0])}–{_figure(found[1])}"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
