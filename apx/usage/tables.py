"""Answers as tables that leave APX: CSV for spreadsheets, and rows of FOCUS for tools that read bills."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from apx.usage.questions import By, Question, Total

FOCUS_BY: tuple[By, ...] = ("day", "org", "product", "plan", "key")
"""What a FOCUS row is one of."""
FOCUS_COLUMNS = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost", "InvoiceIssuerName"),
    *("ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
    *("ServiceSubcategory", "SubAccountId", "SubAccountName", "x_ApxPlan", "x_ApxCostUnits"),
)
"""The mandatory columns of FOCUS 1.2 with the recommended ones, and what is consumed, by whom; `x_` are our own.

https://focus.finops.org/focus-specification/v1-2/
"""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")  # noqa: RUF001 -- their wide forms
_SUMS = tuple(name for name in Total.__struct_fields__ if name != "group")

Cell = str | int | float | None


def columns(question: Question) -> tuple[str, ...]:
    """Return the names of an answer's columns."""
    return (*question.by, *_SUMS)


def rows(question: Question, totals: Iterable[Total]) -> list[tuple[Cell, ...]]:
    """Return an answer as rows under `columns`."""
    return [(*(total.group[by] for by in question.by), *(getattr(total, name) for name in _SUMS)) for total in totals]


def document(question: Question, totals: Sequence[Total]) -> dict[str, object]:
    """Return an answer as a JSON document."""
    return {
        "from": question.begin.isoformat(),
        "to": question.end.isoformat(),
        "by": list(question.by),
        "totals": [{**total.group, **{name: getattr(total, name) for name in _SUMS}} for total in totals],
    }


def csv_text(names: Sequence[str], cells: Iterable[Sequence[Cell]]) -> str:
    """Return a table as CSV (RFC 4180), in which no text is a formula to a spreadsheet.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows([_safe(cell) for cell in row] for row in cells)
    return text.getvalue()


def focus(totals: Iterable[Total]) -> list[dict[str, Cell]]:
    """Return totals by `FOCUS_BY` as rows of FOCUS: the org is billed for a day of a key's calls of a product."""
    return [_focus(total) for total in totals]


def focus_csv(totals: Iterable[Total]) -> str:
    """Return rows of FOCUS as CSV."""
    return csv_text(FOCUS_COLUMNS, [[row[name] for name in FOCUS_COLUMNS] for row in focus(totals)])


def _focus(total: Total) -> dict[str, Cell]:
    group = total.group
    day = datetime.strptime(group["day"], "%Y-%m-%d").replace(tzinfo=UTC)
    month = day.replace(day=1)
    cost_usd = total.cost_usd or 0.0
    costs: Mapping[str, Cell] = dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost_usd)
    return {
        **costs,
        "BillingAccountId": group["org"],
        "BillingAccountName": group["org"],
        "BillingCurrency": "USD",
        "BillingPeriodStart": _focus_time(month),
        "BillingPeriodEnd": _focus_time((month + timedelta(days=32)).replace(day=1)),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"Requests to {group['product']} under the plan {group['plan']}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _focus_time(day),
        "ChargePeriodEnd": _focus_time(day + timedelta(days=1)),
        "ConsumedQuantity": total.requests,
        "ConsumedUnit": "Requests",
        "PricingQuantity": total.requests,
        "PricingUnit": "Requests",
        "InvoiceIssuerName": "APX",
        "ProviderName": "APX",
        "PublisherName": "APX",
        "ServiceCategory": "Integration",
        "ServiceSubcategory": "API Management",
        "ServiceName": group["product"],
        "SubAccountId": group["key"],
        "SubAccountName": group["key"],
        "x_ApxPlan": group["plan"],
        "x_ApxCostUnits": total.cost_units,
    }


def _focus_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _safe(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA) else cell


def for_focus(question: Question) -> Question:
    """Return a question that FOCUS rows answer."""
    return msgspec.structs.replace(question, by=FOCUS_BY)
