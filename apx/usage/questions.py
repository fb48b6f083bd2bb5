"""What is asked of usage, and its query: written once, for DuckDB on this machine's files and for BigQuery.

Times are UTC, as are the days and hours that are asked for: a bill's day is the same wherever it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import msgspec

from apx.errors import Unsupported
from apx.usage.events import COLUMNS

if TYPE_CHECKING:
    import ibis.expr.types as ir

By = Literal["day", "hour", "org", "product", "plan", "key"]
BY: tuple[By, ...] = get_args(By)
MOST_ROWS = 100_000
"""Rows of one answer; a question that has more is to be asked of less time, or of less at once."""
_TEXTS: Mapping[By, str] = {"org": "org", "product": "product", "plan": "plan", "key": "key_id"}
_MOMENTS: Mapping[By, Literal["D", "h"]] = {"day": "D", "hour": "h"}
_STATES = ("succeeded", "failed", "expired", "cancelled")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of the requests that ended in `[begin, end)`, put together by some of their properties."""

    begin: datetime
    end: datetime
    by: tuple[By, ...] = ()
    org: str | None = None
    product: str | None = None
    plan: str | None = None
    key: str | None = None


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What requests of one group come to."""

    group: dict[By, str]
    requests: int
    succeeded: int
    failed: int
    expired: int
    cancelled: int
    attempts: int
    request_bytes: int
    response_bytes: int
    backend_s: float
    cost_units: float
    cost_usd: float | None
    """Of the requests whose policy said what they cost; None where none did."""


class UsageTotals(Protocol):
    """Answers questions from what is stored. Each request counts once, however often its event was stored.

    What ended in the last seconds may not be stored yet.
    """

    async def ask(self, question: Question) -> list[Total]:
        """Return the groups in order. Raises `Unavailable`, and `Unsupported` for more than `MOST_ROWS`."""
        ...


_FIRST_YEAR, _LAST_YEAR = 1970, 9999
"""Of what can be asked for: months before and after it are still dates."""


def moment(text: str, *, what: str) -> datetime:
    """Read a day (its first moment, UTC) or a moment of ISO 8601, by its own offset or else UTC.

    Raises `Unsupported`.
    """
    with suppress(ValueError, OverflowError):
        read = (
            datetime.combine(date.fromisoformat(text), time(), UTC)
            if len(text) == len("2026-11-25")
            else datetime.fromisoformat(text)
        )
        read = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
        if _FIRST_YEAR <= read.year < _LAST_YEAR:
            return read
    raise Unsupported(f"{what}: {text!r} is neither a day, 2026-11-25, nor a moment, 2026-11-25T13:00Z")


def question(now: datetime, *, begin: str | None, end: str | None, by: Iterable[str], **only: str | None) -> Question:
    """Read a question; without `end` up to now, without `begin` from the first day of that month.

    Raises `Unsupported`.
    """
    until = now + timedelta(milliseconds=1) if end is None else moment(end, what="to")
    first = (until - timedelta(microseconds=1)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since = first if begin is None else moment(begin, what="from")
    if since >= until:
        raise Unsupported(f"from {since.isoformat()} is not before to {until.isoformat()}")
    wanted = tuple(dict.fromkeys(by))
    unknown = [one for one in wanted if one not in BY]
    if unknown:
        raise Unsupported(f"by: {unknown[0]!r} is none of {', '.join(BY)}")
    return msgspec.convert({"begin": since, "end": until, "by": wanted, **only}, Question)


def query(table: ir.Table, asked: Question) -> ir.Table:
    """Return the query of a question on a table of `COLUMNS`."""
    import ibis  # noqa: PLC0415 -- a second that only who asks has to wait

    rows = table.filter(table.finished_at >= ibis.literal(asked.begin), table.finished_at < ibis.literal(asked.end))
    for name, column in _TEXTS.items():
        wanted = getattr(asked, name)
        if wanted is not None:
            rows = rows.filter(rows[column] == wanted)
    once = _once(rows)
    groups = {name: _group(once, name) for name in asked.by}
    totals = once.aggregate(by=groups, **_sums(once))
    return totals.order_by(list(asked.by)).limit(MOST_ROWS + 1) if asked.by else totals


def duckdb_sql(asked: Question, table: str) -> str:
    """Return a question in DuckDB's SQL. The session's time zone has to be UTC."""
    from ibis.backends.sql.compilers.duckdb import DuckDBCompiler  # noqa: PLC0415 -- as above

    compiled: str = DuckDBCompiler().to_sqlglot(query(unbound(table), asked)).sql(dialect="duckdb")
    return compiled


def bigquery_sql(asked: Question, table: str) -> str:
    """Return a question in BigQuery's SQL, of a table `project.dataset.table`."""
    from ibis.backends.sql.compilers.bigquery import BigQueryCompiler  # noqa: PLC0415 -- as above

    name = "apx_usage_table"
    compiled: str = BigQueryCompiler().to_sqlglot(query(unbound(name), asked)).sql(dialect="bigquery")
    return compiled.replace(f"`{name}`", f"`{table}`")


@cache
def unbound(name: str) -> ir.Table:
    """Return the table of events as ibis sees it, connected to nothing."""
    import ibis  # noqa: PLC0415 -- as above

    types = {"string": "!string", "int64": "!int64", "float64": "!float64", "timestamp": "!timestamp('UTC')"}
    return ibis.table({one.name: types[one.kind].lstrip("!" if one.nullable else "") for one in COLUMNS}, name=name)


def totals(asked: Question, rows: Sequence[Mapping[str, Any]]) -> list[Total]:
    """Return the answer that a store's rows are. Raises `Unsupported` for more than `MOST_ROWS`."""
    if len(rows) > MOST_ROWS:
        raise Unsupported(f"there are more than {MOST_ROWS} rows: ask of less time, of one org, or by less")
    found = [_total(asked, row) for row in rows]
    return found if asked.by or (found and found[0].requests) else []


def _once(rows: ir.Table) -> ir.Table:
    """Keep one event of each request: those that came twice are the same."""
    names = [column.name for column in COLUMNS if column.name != "request"]
    return rows.group_by("request").aggregate(**{name: rows[name].max() for name in names})


def _group(rows: ir.Table, by: By) -> ir.Value:
    unit = _MOMENTS.get(by)
    return rows[_TEXTS[by]] if unit is None else rows.finished_at.truncate(unit)


def _sums(rows: ir.Table) -> dict[str, ir.Value]:
    states = {state: (rows.state == state).sum().fill_null(0) for state in _STATES}
    counted = ("attempts", "request_bytes", "response_bytes", "backend_s", "cost_units")
    sums = {name: rows[name].sum().fill_null(0) for name in counted}
    return {"requests": rows.count(), **states, **sums, "cost_usd": rows.cost_usd.sum()}


def _total(asked: Question, row: Mapping[str, Any]) -> Total:
    group = {name: _text(name, row[name]) for name in asked.by}
    cost_usd = row["cost_usd"]
    counts = {name: int(row[name]) for name in ("requests", *_STATES, "attempts", "request_bytes", "response_bytes")}
    return Total(
        group=group,
        backend_s=float(row["backend_s"]),
        cost_units=float(row["cost_units"]),
        cost_usd=None if cost_usd is None else float(cost_usd),
        **counts,
    )


def _text(by: By, value: Any) -> str:
    if by not in _MOMENTS:
        return str(value)
    at: datetime = value.astimezone(UTC) if value.tzinfo else value
    return at.strftime("%Y-%m-%d" if by == "day" else "%Y-%m-%dT%H:00Z")
