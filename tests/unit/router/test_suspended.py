"""A suspended org: nothing of it is let in, what it had accepted goes on."""

from __future__ import annotations

import asyncio

import pytest

from apx.admission.orgs import OrgState
from apx.admission.standing import Standing
from apx.backends.memory.orgs import MemoryOrgs
from tests.unit.router.desk import Answer, Desk


async def decide(desk: Desk, org: str = "acme", *, suspended: bool = True) -> None:
    await desk.orgs.put(OrgState(org=org, suspended=suspended))
    await desk.standing.look()


def refused(answer: Answer) -> bool:
    return (answer.status, answer.json["code"]) == (403, "org-suspended")


async def test_each_request_of_a_suspended_org_is_refused(desk: Desk) -> None:
    request = await desk.accepted()
    await decide(desk)
    assert refused(await desk.post())
    assert refused(await desk.ask("GET", "/-/admit/files/a"))
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/result"), ("GET", "/events")):
        assert refused(await desk.ask(method, f"/v1/requests/{request}{path}"))


async def test_another_org_is_let_in(desk: Desk) -> None:
    await decide(desk, "other")
    assert (await desk.post()).status == 202


async def test_a_stranger_learns_nothing_of_it(desk: Desk) -> None:
    await decide(desk)
    assert (await desk.ask("POST", "/orders", {"x-api-key": "wrong"}, body=b"{}")).status == 401


async def test_a_resumed_org_is_let_in_and_finds_what_was_done_meanwhile(desk: Desk) -> None:
    request = await desk.accepted()
    await decide(desk)
    assert await desk.finish() == request
    await decide(desk, suspended=False)
    assert (await desk.ask("GET", f"/v1/requests/{request}/result")).body == b"the answer"
    assert (await desk.post()).status == 202


async def test_an_open_stream_ends_at_once(desk: Desk) -> None:
    request = await desk.accepted()
    stream = asyncio.create_task(desk.ask("GET", f"/v1/requests/{request}/events"))
    await asyncio.sleep(0.05)
    assert not stream.done()
    await decide(desk)
    async with asyncio.timeout(1):
        answer = await stream
    assert answer.status == 200
    assert answer.complete


@pytest.mark.parametrize("path", ["", "/result"])
async def test_who_waits_for_a_result_is_refused_at_once(desk: Desk, path: str) -> None:
    request = await desk.accepted()
    headers = {**desk.headers, "prefer": "wait=30"}
    waiting = asyncio.create_task(desk.ask("GET", f"/v1/requests/{request}{path}", headers))
    await asyncio.sleep(0.05)
    await decide(desk)
    async with asyncio.timeout(1):
        assert refused(await waiting)


async def test_what_was_accepted_is_said_to_be_accepted(desk: Desk) -> None:
    waiting = asyncio.create_task(desk.post(prefer="wait=30"))
    await asyncio.sleep(0.05)
    await decide(desk)
    async with asyncio.timeout(1):
        assert (await waiting).status == 202


async def test_before_the_states_are_known_nobody_is_let_in(desk: Desk) -> None:
    desk.router._standing = Standing(MemoryOrgs())  # noqa: SLF001 -- a router that has just started
    assert (await desk.post()).status == 503
