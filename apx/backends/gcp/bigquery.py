"""Answers about usage from BigQuery's table: `apx.usage.questions.UsageTotals`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigquery import Client, QueryJobConfig

from apx.backends.gcp.names import USAGE_DATASET, USAGE_TABLE
from apx.errors import Unavailable
from apx.usage.questions import Question, Total, bigquery_sql, totals

MOST_BYTES = 100 * 2**30
"""What one question may read: a mistake costs less than a dollar."""
TIMEOUT_S = 60.0


class BigQueryUsage:
    """The table of one project."""

    def __init__(self, project: str) -> None:
        self._project = project

    async def ask(self, question: Question) -> list[Total]:
        """Return the answer of what has come to the table. Raises `Unavailable`, `Unsupported`."""
        return await asyncio.to_thread(self._ask, question)

    def _ask(self, question: Question) -> list[Total]:
        sql = bigquery_sql(question, f"{self._project}.{USAGE_DATASET}.{USAGE_TABLE}")
        try:
            with Client(self._project) as client:
                job = client.query(sql, QueryJobConfig(maximum_bytes_billed=MOST_BYTES), timeout=TIMEOUT_S)
                rows: Sequence[Mapping[str, Any]] = [dict(row) for row in job.result(timeout=TIMEOUT_S)]
        except (GoogleAPIError, GoogleAuthError, TimeoutError) as error:
            raise Unavailable(f"BigQuery does not answer about usage: {error}") from error
        return totals(question, rows)
