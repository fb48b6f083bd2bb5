from __future__ import annotations

import base64
import json

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from apx.admission.paths import canonical_path
from apx.admission.routes import Match, RouteTree
from apx.catalog.model import Route
from services.edge.patterns import CANONICAL_TARGET, COMPACT_JWS, JWS_WITH_CRIT, ONE_HOST, none_of, route_regex

PIECES = st.sampled_from(
    (
        *("/", ".", "..", "a", "b1", "-", "~", ";", "\\", "%", "%2e", "%2F", "%41", "%20", "%C3%A9", "%c3%a9", "%7E"),
        *("%C0%AE", "%00", "%25", "%3B", "%ED%A0%80", "%F0%9F%8C%A7", "é", " ", "|", ":", "@", "+", "=", ",", "("),
    )
)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_the_edge_and_the_router_agree_on_what_a_path_is(rest: str) -> None:
    path = "/" + rest
    wanted = canonical_path(path)
    taken = re2.fullmatch(CANONICAL_TARGET, path) is not None
    if taken:
        assert wanted is not None
        assert wanted.lower() == path.lower()
    elif wanted is not None:  # the router repairs what need not be escaped; the edge does not let it come to that
        assert wanted.lower() != path.lower()


@pytest.mark.parametrize("query", ["?", "?a=b", "?a=%00&b=../..;", "?q=//x?y"])
def test_a_query_is_printable_ascii_and_nothing_more_is_asked_of_it(query: str) -> None:
    assert re2.fullmatch(CANONICAL_TARGET, f"/a{query}")


@pytest.mark.parametrize("target", ["", "a", "*", "http://h/a", "/a?\x00", "/a?é", "/a? b", "/a#b", "//a", "/a//"])
def test_what_is_no_origin_form_is_not_taken(target: str) -> None:
    assert re2.fullmatch(CANONICAL_TARGET, target) is None


@pytest.mark.parametrize("host", ["edge", "edge:8080", "api.example.com", "127.0.0.1:80", "[::1]", "[2001:db8::1]:443"])
def test_one_host_is_taken(host: str) -> None:
    assert re2.fullmatch(ONE_HOST, host)


@pytest.mark.parametrize("host", ["", "a,b", "a b", "u@a", "a/b", "a:", "a:b", "a:123456", "[::1", "::1", "a\x00", "é"])
def test_what_is_not_one_host_is_not(host: str) -> None:
    assert re2.fullmatch(ONE_HOST, host) is None


@given(st.text(max_size=12))
def test_a_header_that_asks_for_extensions_is_seen_at_each_alignment(before: str) -> None:
    for header in ({"alg": "RS256", "kid": before, "crit": ["x"]}, {"crit": [], "kid": before}):
        raw = json.dumps(header, ensure_ascii=False).encode("utf-8", "replace")
        token = f"Bearer {base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}.e30.c2ln"
        assert re2.fullmatch(COMPACT_JWS, token)
        assert re2.fullmatch(JWS_WITH_CRIT, token)


def test_crit_among_the_claims_is_not_in_the_header() -> None:
    claims = base64.urlsafe_b64encode(b'{"a":1,"crit":["x"]}').decode().rstrip("=")
    assert re2.fullmatch(JWS_WITH_CRIT, f"Bearer eyJhbGciOiJSUzI1NiJ9.{claims}.c2ln") is None


WORDS = st.text(alphabet="ab-", min_size=1, max_size=4)


@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, max_size=3), st.text(alphabet="abc-", max_size=6))
def test_none_of_takes_every_string_but_the_refused_ones(names: list[str], prefixes: list[str], text: str) -> None:
    refused = text in names or text.startswith(tuple(prefixes))
    assert (re2.fullmatch(none_of(names, prefixes), text) is None) == refused


TEMPLATES = ["/", "/{id}", "/{id}/lines", "/all", "/all/{rest=**}", "/{id}/x/{rest=**}"]


@given(st.sampled_from(TEMPLATES), st.lists(st.sampled_from(["a", "all", "lines", "x", "b.c"]), max_size=4))
def test_a_template_means_the_same_to_the_edge_and_the_router(template: str, segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    at_router = isinstance(RouteTree([Route(path=template)]).match("GET", path), Match)
    at_edge = re2.fullmatch(route_regex("/base", template), f"/base{path}") is not None
    assert at_edge == at_router
