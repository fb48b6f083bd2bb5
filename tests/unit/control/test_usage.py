"""The control API's answers about usage."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from apx.usage.tables import FOCUS_COLUMNS
from tests.contract.requests_examples import BOUNDS, done, envelope
from tests.unit.control.office import Office

WHEN = {"from": "1970-01-01", "to": "1970-02-01"}
"""The clock of these tests begins in 1970, and so do the results of the examples."""


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    office = Office(tmp_path)
    for org in ("acme", "blue", "blue"):
        await office.bus.publish(envelope(org=org, plan="gold", deadline_ms=2**50))
    waiting = await office.bus.receive("w", BOUNDS, 10)
    while waiting:
        await office.bus.settle([done(one) for one in waiting])
        waiting = await office.bus.receive("w", BOUNDS, 10)
    return office


@pytest.fixture
async def viewer(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(office.app),
        base_url="http://control",
        headers={"authorization": f"Bearer {office.token('viewer')}"},
    ) as client:
        yield client


async def test_a_viewer_sees_who_used_what(viewer: httpx.AsyncClient) -> None:
    answer = await viewer.get("/api/v1/usage", params={**WHEN, "by": ["org", "plan"]})
    assert answer.status_code == 200
    told = [(one["org"], one["plan"], one["requests"]) for one in answer.json()["totals"]]
    assert told == [("acme", "gold", 1), ("blue", "gold", 2)]


async def test_only_what_is_asked_for_is_counted(viewer: httpx.AsyncClient) -> None:
    answer = await viewer.get("/api/v1/usage", params={**WHEN, "org": "blue"})
    assert [one["requests"] for one in answer.json()["totals"]] == [2]


async def test_it_is_given_as_csv_and_as_focus(viewer: httpx.AsyncClient) -> None:
    plain = await viewer.get("/api/v1/usage", params={**WHEN, "by": "org", "format": "csv"})
    assert plain.headers["content-type"] == "text/csv; charset=utf-8"
    assert [row["org"] for row in csv.DictReader(io.StringIO(plain.text, newline=""))] == ["acme", "blue"]
    focus = await viewer.get("/api/v1/usage", params={**WHEN, "format": "focus"})
    assert next(csv.reader(io.StringIO(focus.text, newline=""))) == list(FOCUS_COLUMNS)


async def test_who_has_no_token_sees_nothing(office: Office) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(office.app), base_url="http://control") as client:
        assert (await client.get("/api/v1/usage")).status_code == 401


@pytest.mark.parametrize(
    "wrong", [{"by": "colour"}, {"from": "soon"}, {"from": "2026-11-02", "to": "2026-11-01"}, {"format": "xml"}]
)
async def test_a_wrong_question_is_a_problem(viewer: httpx.AsyncClient, wrong: dict[str, str]) -> None:
    answer = await viewer.get("/api/v1/usage", params=wrong)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
