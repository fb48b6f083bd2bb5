"""Whatever comes to the edge, the platform answers it, stays whole, and hands on only what it accepted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apx.local.platform import Platform
from examples.demo_issuer.tokens import sign_token
from tests.e2e.platform import hostile
from tests.e2e.platform.client import Client
from tests.e2e.platform.shots import Answer, Shot, raw_shot, shot
from tests.e2e.platform.unharmed import FORGED, unharmed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

VOLLEY = 8
"""Requests at a time; all of an example's."""
_JSON = ("Content-Type", "application/json")


def volleys(examples: int) -> Callable[[Any], Any]:
    """Run a property on so many volleys, the same ones each time."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=quiet)


def several(one: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(one, min_size=VOLLEY, max_size=VOLLEY)


@pytest.fixture(scope="module")
def finished(platform: Platform) -> tuple[str, str]:
    """Ids of a finished request of acme's, and of one of globex's."""
    return (_finished(platform, "acme"), _finished(platform, "globex"))


def _finished(platform: Platform, org: str) -> str:
    with Client(platform, org) as client:
        location: str = client.order().headers["location"]
        client.finished(location)
    return location.rpartition("/")[2]


def _key(platform: Platform) -> tuple[str, str]:
    return ("X-API-Key", platform.keys["acme"])


def _person() -> tuple[str, str]:
    return ("Authorization", f"Bearer {sign_token('e-1', org='acme', now=time.time())}")


def _targets(request_id: str) -> st.SearchStrategy[str]:
    operation = f"/v1/requests/{request_id}"
    return st.sampled_from(
        [
            *("/orders/", "/orders/o-1", "/forecast/paris", "/staff-payslips/e-1", "/nothing", "/", "/healthz"),
            *(operation, f"{operation}/result", f"{operation}/events", "/-/admit/forecast/paris", "/metrics"),
        ]
    )


def test_no_method_and_no_path_harms(platform: Platform, finished: tuple[str, str]) -> None:
    keys = [[_key(platform)], [_key(platform)], [_key(platform), _person()], []]
    pieces = st.lists(st.tuples(st.integers(0, 100), hostile.PIECES), max_size=2)
    paths = st.builds(hostile.inserted, _targets(finished[0]), pieces)

    @volleys(150)
    @given(several(st.builds(shot, hostile.METHODS, paths, st.sampled_from(keys))))
    def storm_of(shots: list[Shot]) -> None:
        storm.fire(shots)

    with unharmed(platform, finished) as storm:
        storm_of()


def test_no_header_field_harms(platform: Platform, finished: tuple[str, str]) -> None:
    order = ("POST", "/orders/", hostile.ORDER)
    gets = [("GET", target, b"") for target in ("/orders/o-1", "/forecast/paris", "/staff-payslips/e-1", "/nothing")]
    asks = [("GET", f"/v1/requests/{finished[0]}{rest}", b"") for rest in ("", "/result", "/events")]
    calls = st.sampled_from([order, order, *gets, *asks, ("DELETE", f"/v1/requests/{finished[0]}", b"")])
    person = _person()

    def made(call: tuple[str, str, bytes], fields: list[hostile.Field]) -> Shot:
        method, path, body = call
        known = [_key(platform), person] if path.startswith("/staff") else [_key(platform)]
        return shot(method, path, [*known, *fields], body)

    shots = st.builds(made, calls, hostile.FIELDS)

    @volleys(150)
    @given(several(shots))
    def storm_of(shots: list[Shot]) -> None:
        answers = storm.fire(shots)
        assert not [answer for answer in answers if FORGED in f"{answer.fields}{answer.body!r}"]

    with unharmed(platform, finished) as storm:
        storm_of()


def test_no_body_harms(platform: Platform) -> None:
    order, person = ("/orders/", [_key(platform)]), ("/staff-payslips/e-1/2026-01", [_key(platform), _person()])
    places = st.sampled_from([order, order, order, ("/forecast/paris", [_key(platform)]), person])
    methods = st.sampled_from(["POST", "POST", "PUT", "GET"])

    def made(
        method: str, place: tuple[str, list[hostile.Field]], types: list[hostile.Field], body: bytes, chunked: int
    ) -> Shot:
        path, caller = place
        return shot(method, path, [*caller, *types], body, chunked=bool(chunked))

    bodies = st.builds(made, methods, places, hostile.TYPES, hostile.BODIES, st.integers(0, 1))

    @volleys(150)
    @given(several(bodies))
    def storm_of(shots: list[Shot]) -> None:
        storm.fire(shots)

    with unharmed(platform) as storm:
        storm_of()


def test_a_body_with_two_readings_is_never_accepted(platform: Platform) -> None:
    two = [b'{"amount_usd":1,"amount_usd":2}', b'{"amount_usd":1,"a":1e400}', b'{"amount_usd":1,"a":"\\ud800"}']
    shots = [shot("POST", "/orders/", [_key(platform), _JSON], body) for body in (*two, b"[" * 30_000 + b"]" * 30_000)]
    coded = shot("POST", "/orders/", [_key(platform), _JSON, ("Content-Encoding", "gzip")], hostile.ORDER)
    latin = shot("POST", "/orders/", [_key(platform), ("Content-Type", "application/json; charset=l1")], hostile.ORDER)

    with unharmed(platform) as storm:
        assert [answer.status for answer in storm.fire([*shots, coded, latin])] == [400, 400, 400, 400, 415, 415]


def test_nothing_is_smuggled_by_ambiguous_framing(platform: Platform) -> None:
    body = b"0\r\n\r\n" + shot("GET", "/forecast/smuggled", [_key(platform)]).data
    lines = st.sampled_from(
        [b"POST /orders/ HTTP/1.1", b"GET /forecast/paris HTTP/1.1", b"DELETE /v1/requests/x HTTP/1.1"]
    )

    def made(line: bytes, fields: list[hostile.Field]) -> Shot:
        return raw_shot(line, [("Host", "edge"), _key(platform), *fields], body, unsafe=True)

    @volleys(80)
    @given(several(st.builds(made, lines, hostile.FRAMINGS)))
    def storm_of(shots: list[Shot]) -> None:
        assert not [answer for answer in storm.fire(shots) if answer.accepted]

    with unharmed(platform) as storm:
        storm_of()


def test_no_chunk_harms(platform: Platform) -> None:
    chunked = [("Host", "edge"), _key(platform), ("Transfer-Encoding", "chunked")]
    lines = st.sampled_from(
        [b"POST /orders/ HTTP/1.1", b"PUT /staff-payslips/e-1/2026-01 HTTP/1.1", b"POST /nothing HTTP/1.1"]
    )
    shots = st.builds(lambda line, body: raw_shot(line, chunked, body, unsafe=True), lines, hostile.CHUNKS)

    @volleys(25)
    @given(several(shots))
    def storm_of(shots: list[Shot]) -> None:
        assert not [answer for answer in storm.fire(shots) if answer.accepted]  # none of them is an order

    with unharmed(platform) as storm:
        storm_of()


def test_no_id_but_ones_own_finds_anything(platform: Platform, finished: tuple[str, str]) -> None:
    methods = st.sampled_from(["GET", "GET", "DELETE", "POST", "HEAD"])
    paths = st.builds(
        "/v1/requests/{}{}".format, hostile.damaged(*finished), st.sampled_from(["", "/result", "/events", "/", "/x"])
    )

    @volleys(80)
    @given(several(st.builds(shot, methods, paths, st.just([_key(platform)]))))
    def storm_of(shots: list[Shot]) -> None:
        assert {answer.status for answer in storm.fire(shots)} <= {400, 404, 405, 431}

    with unharmed(platform, finished) as storm:
        storm_of()


def test_no_token_but_a_good_one_lets_in(platform: Platform) -> None:
    good = sign_token("e-1", org="acme", now=time.time())
    tokens = (
        st.tuples(st.integers(0, len(good) - 2), st.sampled_from("AZaz09-_.=\xff \x00")).map(
            lambda at: good[: at[0]] + at[1] + good[at[0] + 1 :]
        )
        | st.sampled_from(
            ["", ".", "..", "a.b.c", good + ".", good + ", Bearer " + good, good.rpartition(".")[0] + "."]
        )
        | st.sampled_from(["eyJhbGciOiJub25lIn0." + good.split(".")[1] + ".", good.split(".")[1], "a" * 50_000])
    ).filter(lambda token: token != good)
    shots = st.builds(
        lambda token: shot("GET", "/staff-payslips/e-1", [_key(platform), ("Authorization", f"Bearer {token}")]), tokens
    )

    @volleys(60)
    @given(several(shots))
    def storm_of(shots: list[Shot]) -> None:
        assert {answer.status for answer in storm.fire(shots)} <= {400, 401}

    with unharmed(platform) as storm:
        storm_of()


def _oversized(platform: Platform, request_id: str) -> dict[str, Shot]:
    paths = ["/orders/", "/forecast/paris", "/staff-payslips/e-1", f"/v1/requests/{request_id}/result", "/nothing"]
    key, large = _key(platform), b"a" * 11_000_000  # over the edge's limit
    many = [(f"x-{n}", "a") for n in range(5_000)]
    return {
        **{f"1 MB header {p}": shot("GET", p, [key, ("x-a", "a" * 1_000_000)]) for p in paths},
        **{f"1 MB name {p}": shot("GET", p, [key, ("a" * 1_000_000, "a")]) for p in paths},
        **{f"5,000 headers {p}": shot("GET", p, [key, *many]) for p in paths},
        **{f"100 kB path {p}": shot("GET", p + "a" * 100_000, [key]) for p in paths},
        **{f"100 kB query {p}": shot("GET", p + "?" + "a" * 100_000, [key]) for p in paths},
        **{f"1 MB method {p}": shot("A" * 1_000_000, p, [key]) for p in paths},
        **{f"11 MB body {p}": shot("POST", p, [key, _JSON], large) for p in paths},
        **{f"11 MB in chunks {p}": shot("POST", p, [key, _JSON], large, chunked=True) for p in paths},
    }


def test_what_is_too_large_is_refused_at_once(platform: Platform, finished: tuple[str, str]) -> None:
    shots = _oversized(platform, finished[0])

    with unharmed(platform, finished) as storm:
        answers: list[Answer] = []
        for first in range(0, len(shots), VOLLEY):
            answers += storm.fire(list(shots.values())[first : first + VOLLEY])
        refused = {name: answer.status for name, answer in zip(shots, answers, strict=True)}

    assert not {name: status for name, status in refused.items() if status not in {400, 401, 404, 405, 413, 431}}
