"""The control API's answers about usage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from apx.admission.operators import Operator
from apx.clock import Clock
from apx.errors import Unsupported
from apx.usage.questions import By, UsageTotals, question
from apx.usage.tables import columns, csv_text, document, focus_csv, for_focus, rows
from services.control.access import Access

Name = Annotated[str | None, Query(max_length=200)]
Moment = Annotated[str | None, Query(max_length=40, description="A day, or a moment of ISO 8601; UTC if it says none.")]
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
"""Besides JSON."""


def usage(totals: UsageTotals, clock: Clock, access: Access) -> APIRouter:
    """Return the routes of usage."""
    router = APIRouter(tags=["usage"])
    looking = access.looks()

    @router.get("/usage", responses=_ANSWERS)
    async def asked(  # noqa: PLR0917 -- FastAPI reads them here
        by: Annotated[list[By] | None, Query(description="What to put together by.")] = None,
        org: Name = None,
        product: Name = None,
        plan: Name = None,
        key: Name = None,
        begin: Annotated[Moment, Query(alias="from")] = None,
        end: Annotated[Moment, Query(alias="to")] = None,
        form: Annotated[Literal["json", "csv", "focus"], Query(alias="format")] = "json",
        caller: Operator = looking,
    ) -> Response:
        """Total the asynchronous requests that ended in a time, this month's by default."""
        now = datetime.fromtimestamp(clock.time(), UTC)
        wanted = question(
            now, begin=begin, end=end, by=by or (), org=_org(caller, org), product=product, plan=plan, key=key
        )
        wanted = for_focus(wanted) if form == "focus" else wanted
        found = await totals.ask(wanted)
        if form == "json":
            return JSONResponse(document(wanted, found))
        text = focus_csv(found) if form == "focus" else csv_text(columns(wanted), rows(wanted, found))
        return Response(text, media_type="text/csv; charset=utf-8")

    return router


def _org(caller: Operator, org: str | None) -> str | None:
    """Return the org to ask of; None is all of them. Raises `NotFound`, and `Unsupported` for a choice not made."""
    orgs = caller.asks(org)
    if len(orgs) > 1:
        raise Unsupported(f"org: ask of one: {', '.join(map(str, orgs))}")
    return orgs[0]
