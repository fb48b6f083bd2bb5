from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from examples.demo_backend.record import Entry, Record
from examples.demo_backend.server import serving


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with serving() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as made:
        yield made


async def record_of(session: aiohttp.ClientSession, query: str = "") -> list[Entry]:
    async with session.get(f"/_demo/record{query}") as answer:
        return msgspec.json.Decoder(Entry).decode_lines(await answer.read())


async def status_of(session: aiohttp.ClientSession, path: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.post(path, headers=named) as answer:
        return answer.status


async def outcome_of_first(session: aiohttp.ClientSession, tries: int) -> str:
    for _ in range(tries):
        (entry,) = await record_of(session)
        if entry.outcome != "started":
            break
        await asyncio.sleep(0.01)
    return entry.outcome


async def test_an_order_gets_a_number_and_can_be_read_again(session: aiohttp.ClientSession) -> None:
    async with session.post("/orders", json={"item": 7}) as answer:
        order = await answer.json()
        assert (answer.status, order["received"]) == (201, {"item": 7})
    async with session.get(answer.headers["location"]) as again:
        assert await again.json() == order


async def test_every_product_answers(session: aiohttp.ClientSession) -> None:
    for path in ("/healthz", "/null", "/forecast/oslo", "/exports?seconds=0", "/orders"):
        async with session.get(path) as answer:
            assert answer.status == 200, path
    async with session.get("/nowhere") as answer:
        assert answer.status == 404


async def test_the_live_forecast_ticks_a_bounded_number_of_times(session: aiohttp.ClientSession) -> None:
    async with session.get("/forecast/oslo/live?ticks=2") as answer:
        assert answer.content_type == "text/event-stream"
        assert (await answer.text()).count("event: weather") == 2


async def test_the_socket_echoes(session: aiohttp.ClientSession) -> None:
    async with session.ws_connect("/forecast/oslo/socket") as socket:
        await socket.send_str("hello")
        assert (await socket.receive_str()) == "hello"


async def test_a_summary_comes_word_by_word(session: aiohttp.ClientSession) -> None:
    async with session.post("/summaries?word_ms=1", json={"text": "a b"}) as answer:
        assert re.findall("data: (.*)", await answer.text()) == ['{"word": "a"}', '{"word": "b"}', "[DONE]"]


async def test_the_first_tries_of_each_request_fail_as_asked(session: aiohttp.ClientSession) -> None:
    tries = [await status_of(session, "/null", x_demo_fail="503,2", idempotency_key="a") for _ in range(3)]
    assert tries == [503, 503, 200]
    assert await status_of(session, "/null", x_demo_fail="503,2", idempotency_key="b") == 503


async def test_a_wrong_wish_is_refused(session: aiohttp.ClientSession) -> None:
    assert await status_of(session, "/null", x_demo_delay_ms="soon") == 400
    assert await status_of(session, "/null", x_demo_no_such="1") == 400


async def test_a_client_that_goes_away_is_recorded(session: aiohttp.ClientSession) -> None:
    with pytest.raises(TimeoutError):
        async with session.post("/exports", timeout=aiohttp.ClientTimeout(total=0.1)):
            pass
    assert await outcome_of_first(session, tries=500) == "cancelled"


async def test_the_record_says_what_came_but_no_credential(session: aiohttp.ClientSession) -> None:
    headers = {"authorization": "Bearer canary", "x-tier": "gold"}
    async with session.post("/orders?q=1", data=b"{}", headers=headers):
        pass
    (entry,) = await record_of(session)
    assert (entry.method, entry.path, entry.query, entry.body_text) == ("POST", "/orders", "q=1", "{}")
    assert (entry.outcome, entry.status) == ("finished", 201)
    sent = dict(entry.headers)
    assert (sent["authorization"], sent["x-tier"]) == ("(sent)", "gold")


async def test_the_record_is_read_by_pages_and_can_be_emptied(session: aiohttp.ClientSession) -> None:
    for _ in range(5):
        await status_of(session, "/null")
    assert [entry.n for entry in await record_of(session, "?since=2&limit=2")] == [2, 3]
    async with session.delete("/_demo/record"):
        pass
    await status_of(session, "/null")
    assert [entry.n for entry in await record_of(session)] == [5]


def test_a_record_of_100_000_entries_comes_in_one_page() -> None:
    record = Record()
    for _ in range(100_000):
        record.end(record.begin("GET", "/null", "", ()), "finished", 200)
    assert record.page(0, 100_000).count(b"\n") == 100_000


def test_the_oldest_entries_go_first_and_numbers_stay() -> None:
    record = Record(keep=3)
    for _ in range(5):
        record.begin("GET", "/null", "", ())
    assert [entry.n for entry in msgspec.json.Decoder(Entry).decode_lines(record.page(0, 10))] == [2, 3, 4]


def test_a_record_file_outlives_its_process(tmp_path: Path) -> None:
    file = tmp_path / "record"
    before = Record(file)
    before.end(before.begin("GET", "/one", "", ()), "finished", 200)
    before.begin("GET", "/two", "", ())
    before.close()
    with file.open("a") as half:
        half.write('{"n": 2, "received')
    after = Record(file)
    after.begin("GET", "/three", "", ())
    after.close()
    again = Record(file)
    again.close()
    entries = msgspec.json.Decoder(Entry).decode_lines(again.page(0, 10))
    assert [(e.n, e.path, e.outcome) for e in entries] == [
        (0, "/one", "finished"),
        (1, "/two", "started"),
        (2, "/three", "started"),
    ]
