"""`apx usage`: who used what."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from apx import bootstrap
from apx.cli.output import AsJson, print_json, print_table
from apx.settings import Settings
from apx.usage.questions import BY, Question, Total, question
from apx.usage.tables import columns, csv_text, document, focus_csv, for_focus, rows

By = Annotated[list[str] | None, typer.Option(help=f"Put together by {', '.join(BY)}; may be given more than once.")]
Moment = "A day, 2026-11-25, or a moment, 2026-11-25T13:00+01:00; UTC if it says none."


def usage(  # noqa: PLR0917 -- typer reads the options here
    org: Annotated[str | None, typer.Option(help="Only this org's.")] = None,
    product: Annotated[str | None, typer.Option(help="Only this product's.")] = None,
    plan: Annotated[str | None, typer.Option(help="Only under this plan.")] = None,
    key: Annotated[str | None, typer.Option(help="Only with this key: key_…")] = None,
    by: By = None,
    begin: Annotated[str | None, typer.Option("--from", help=f"From when on. {Moment} Else the month's first.")] = None,
    end: Annotated[str | None, typer.Option("--to", help=f"Up to when, not included. {Moment} Else now.")] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_focus: Annotated[bool, typer.Option("--focus", help="Print CSV with the columns of FOCUS 1.2.")] = False,
) -> None:
    """Total the asynchronous requests that ended in a time. Days and hours are UTC."""
    if as_json + as_csv + as_focus > 1:
        raise typer.BadParameter("--json, --csv, --focus: give one of them")
    now = datetime.fromtimestamp(bootstrap.CLOCK.time(), UTC)
    asked = question(now, begin=begin, end=end, by=by or ("product",), org=org, product=product, plan=plan, key=key)
    asked = for_focus(asked) if as_focus else asked
    totals = asyncio.run(_ask(asked))
    if as_json:
        return print_json(document(asked, totals))
    if as_focus or as_csv:
        text = focus_csv(totals) if as_focus else csv_text(columns(asked), rows(asked, totals))
        sys.stdout.write(text.replace("\r\n", "\n"))
        return None
    return print_table([name.upper() for name in columns(asked)], [_shown(row) for row in rows(asked, totals)])


def _shown(row: tuple[object, ...]) -> list[object]:
    return ["" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row]


async def _ask(asked: Question) -> list[Total]:
    async with bootstrap.usage(Settings.load()) as usage:
        return await usage.totals.ask(asked)
