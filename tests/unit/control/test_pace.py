"""A caller that loops is told to wait; everybody else goes on."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from apx.catalog.model import Rate
from services.control.pace import STRANGERS
from tests.unit.control.office import Office, code

FEW = Rate(per_second=0.5, burst=3)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path, FEW, STRANGERS)


async def call(office: Office, token: str, *, source: str = "192.0.2.7") -> httpx.Response:
    transport = httpx.ASGITransport(office.app, raise_app_exceptions=False, client=(source, 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://control/api/v1") as client:
        return await client.get("/products", headers={"authorization": f"Bearer {token}"})


async def test_who_calls_too_often_is_told_when_to_come_again(office: Office) -> None:
    ann = office.token("viewer", "ann")
    assert [(await call(office, ann)).status_code for _ in range(FEW.burst)] == [200] * FEW.burst
    refused = await call(office, ann)
    assert code(refused) == (429, "too-many-calls")
    assert refused.headers["retry-after"] == "2"
    assert refused.json()["detail"] == "ann may make 0.5 calls a second, 3 after a pause"
    office.clock.advance(2.0)
    assert (await call(office, ann)).status_code == 200
    assert (await call(office, ann)).status_code == 429


async def test_what_one_caller_uses_up_is_no_other_s(office: Office) -> None:
    ann, other_token_of_ann, ben = (
        office.token(*who) for who in (("viewer", "ann"), ("admin", "ann"), ("viewer", "ben"))
    )
    for _ in range(FEW.burst):
        await call(office, ann)
    assert (await call(office, other_token_of_ann, source="192.0.2.8")).status_code == 429
    assert (await call(office, ben)).status_code == 200


async def test_a_call_that_is_refused_for_its_role_counts(office: Office) -> None:
    member = office.operators.mint("eve", None, hours=1, random=lambda size: b"x" * size)
    assert [(await call(office, member)).status_code for _ in range(FEW.burst + 1)] == [403] * FEW.burst + [429]


async def test_guesses_from_one_address_are_slowed_down_and_lock_nobody_out(office: Office) -> None:
    answers = [await call(office, f"guess-{n}") for n in range(100)]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [401] * STRANGERS.burst + [429] * (100 - STRANGERS.burst)
    assert code(answers[-1]) == (429, "too-many-calls")
    assert (await call(office, office.token("viewer", "ann"))).status_code == 200  # from the same address
    assert (await call(office, "guess", source="192.0.2.8")).status_code == 401


async def test_health_and_metrics_are_always_answered(office: Office) -> None:
    transport = httpx.ASGITransport(office.app, client=("192.0.2.7", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
        for _ in range(100):
            assert (await client.get("/healthz")).status_code == 200
