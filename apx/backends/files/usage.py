"""Usage in Parquet files: `<folder>/date=2026-11-25/<page>.parquet`, asked with DuckDB.

A file is named for the events that are in it and is there only when it is whole and on the disk. The same events may be
in two files, after a crash between writing and forgetting: who asks counts each request once.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apx.backends.files.folders import sync
from apx.errors import Unavailable
from apx.usage.events import COLUMNS, UsageEvent, day_of, row_of
from apx.usage.questions import Question, Total, duckdb_sql, totals

if TYPE_CHECKING:
    import pyarrow as pa

MOST_FILES = 64
"""Small files of one day; when there are more, they become one."""
SMALL_BYTES = 8_388_608
_TRIES = 5
"""A file that is gone between looking and reading has become part of another."""


class UsageFiles:
    """The files of one home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, name: str, events: Sequence[UsageEvent]) -> None:
        """Store events durably; the same `name` has the same events. Raises `Unavailable`; safe to repeat."""
        await asyncio.to_thread(self._write, name, events)

    async def ask(self, question: Question) -> list[Total]:
        """Return the answer of what is in the files. Raises `Unavailable`, `Unsupported`."""
        return await asyncio.to_thread(self._ask, question)

    def _write(self, name: str, events: Sequence[UsageEvent]) -> None:
        days: dict[str, list[UsageEvent]] = defaultdict(list)
        for event in events:
            days[day_of(event)].append(event)
        try:
            for day, those in days.items():
                folder = self._folder / f"date={day}"
                _keep(folder / f"{name}.parquet", _table(map(row_of, those)))
                _join_small(folder)
        except OSError as error:
            raise Unavailable(f"usage of {', '.join(days)} cannot be written: {error}") from error

    def _ask(self, question: Question) -> list[Total]:
        for left in reversed(range(_TRIES)):
            files = self._files(question)
            if not files:
                return []
            try:
                return totals(question, _rows(files, question))
            except FileNotFoundError as error:
                if not left:
                    raise Unavailable(f"usage cannot be read: {error}") from error
        return []

    def _files(self, question: Question) -> list[str]:
        first, last = (f"date={at.strftime('%Y-%m-%d')}" for at in (question.begin, question.end))
        days = [folder for folder in self._folder.glob("date=*") if first <= folder.name <= last]
        return sorted(str(path) for folder in days for path in folder.glob("*.parquet"))


def _rows(files: list[str], question: Question) -> list[Mapping[str, Any]]:
    import duckdb  # noqa: PLC0415 -- tens of MB that only who asks needs

    try:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.read_parquet(files, hive_partitioning=False, union_by_name=True).create_view("usage")
            answer = connection.sql(duckdb_sql(question, "usage")).to_arrow_table()
            rows: list[Mapping[str, Any]] = answer.to_pylist()
    except duckdb.IOException as error:
        if any(not Path(path).exists() for path in files):
            raise FileNotFoundError(str(error)) from error
        raise Unavailable(f"usage cannot be read: {error}") from error
    return rows


def _schema() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415

    kinds = {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "timestamp": pa.timestamp("us", "UTC"),
    }
    return pa.schema([pa.field(one.name, kinds[one.kind], nullable=one.nullable) for one in COLUMNS])


def _table(rows: Iterable[Sequence[object]]) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    columns = list(zip(*rows, strict=True))
    schema = _schema()
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )


def _join_small(folder: Path) -> None:
    """Make one file of many small ones. Until they are gone, what is in them is there twice, and counts once."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    small = sorted(path for path in folder.glob("*.parquet") if path.stat().st_size < SMALL_BYTES)
    if len(small) <= MOST_FILES:
        return
    import pyarrow as pa  # noqa: PLC0415

    joined = pa.concat_tables([pq.read_table(path, partitioning=None) for path in small])
    names = hashlib.sha256("/".join(path.name for path in small).encode()).hexdigest()
    _keep(folder / f"joined-{names[:32]}.parquet", joined)
    for path in small:
        path.unlink(missing_ok=True)


def _keep(path: Path, table: pa.Table) -> None:
    """Put a table under its name when it is on the disk."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, draft, compression="zstd")
    sync(draft)
    draft.replace(path)
    for folder in (path.parent, path.parent.parent):  # the day's folder may be new
        sync(folder)
