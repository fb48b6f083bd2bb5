"""Answers that leave APX: CSV that no spreadsheet carries out, and rows of FOCUS."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from apx.backends.files.usage import UsageFiles
from apx.usage.tables import FOCUS_COLUMNS, columns, csv_text, document, focus, focus_csv, for_focus, rows
from tests.unit.usage.examples import asked, event

MANDATORY = set(
    """
    BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd BillingPeriodStart ChargeCategory
    ChargeClass ChargeDescription ChargePeriodEnd ChargePeriodStart ContractedCost EffectiveCost InvoiceIssuerName
    ListCost PricingQuantity PricingUnit ProviderName PublisherName ServiceCategory ServiceName
    """.split()  # noqa: SIM905 -- as the specification lists them
)
"""Of FOCUS 1.2, by its column library."""


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0"])
def test_no_text_is_a_formula(name: str) -> None:
    [_, [cell, number]] = csv.reader(io.StringIO(csv_text(["org", "n"], [[name, -1.5]]), newline=""))
    assert cell == f"'{name}"
    assert number == "-1.5"


def test_text_with_quotes_commas_and_lines_is_one_cell() -> None:
    name = 'a"b,c\nd'
    [_, row] = csv.reader(io.StringIO(csv_text(["org"], [[name]]), newline=""))
    assert row == [name]


async def test_an_answer_is_rows_under_its_columns(tmp_path: Path) -> None:
    files, question = UsageFiles(tmp_path), asked("org", "day")
    await files.write("1_2", [event(cost_usd=0.5)])
    found = await files.ask(question)
    [row] = rows(question, found)
    assert dict(zip(columns(question), row, strict=True)) == {
        "org": "acme",
        "day": "2026-11-25",
        "requests": 1,
        "succeeded": 1,
        "failed": 0,
        "expired": 0,
        "cancelled": 0,
        "attempts": 1,
        "request_bytes": 10,
        "response_bytes": 20,
        "backend_s": 0.5,
        "cost_units": 1.0,
        "cost_usd": 0.5,
    }
    told = document(question, found)
    assert (told["from"], told["by"]) == ("2026-11-01T00:00:00+00:00", ["org", "day"])


class TestFocus:
    async def test_a_row_has_every_mandatory_column(self, tmp_path: Path) -> None:
        files = UsageFiles(tmp_path)
        await files.write("1_2", [event(cost_usd=0.5), event(cost_usd=0.25)])
        totals = await files.ask(for_focus(asked()))
        [row] = focus(totals)
        assert set(row) == set(FOCUS_COLUMNS) >= MANDATORY
        assert (row["BilledCost"], row["ListCost"], row["BillingCurrency"]) == (0.75, 0.75, "USD")
        assert (row["BillingAccountId"], row["ServiceName"], row["SubAccountId"]) == ("acme", "orders", "key_1")
        assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
        assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == ("2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z")
        assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == (2, "Requests")

    async def test_a_charge_class_is_null_and_so_empty(self, tmp_path: Path) -> None:
        files = UsageFiles(tmp_path)
        await files.write("1_2", [event()])
        [row] = csv.DictReader(io.StringIO(focus_csv(await files.ask(for_focus(asked()))), newline=""))
        assert (row["ChargeClass"], row["BilledCost"]) == ("", "0.0")

    def test_nothing_used_is_a_head_without_rows(self) -> None:
        assert focus_csv([]).split("\r\n") == [",".join(FOCUS_COLUMNS), ""]
