from __future__ import annotations

import pytest

from tests.e2e.edge.raw import request, send
from tests.e2e.edge.world import World

pytestmark = pytest.mark.e2e

REFUSED = [
    "/forecast/..;/orders",
    "/forecast/x;a=b",
    "/forecast/%2e%2e/orders%00",
    "/forecast/a%00",
    "/forecast/a%0d%0a",
    "/forecast/a%2Fb",
    "/forecast/a%2fb",
    "/forecast/a%5Cb",
    "/forecast/..%2f..%2forders",
    "/forecast/%252e%252e/orders",
    "/forecast/%3Bx",
    "/forecast/a\\b",
    "/forecast\\..\\orders",
    "/forecast/\xe9",
    "/forecast/%C0%AE%C0%AE/orders",
    "/forecast/%E0%80%AF",
    "/forecast/%FF",
    "/forecast/%ED%A0%80",
    "/%66orecast/x",
    "/forecast/%61",
    "/forecast/%",
    "/forecast/%2",
    "/forecast/%zz",
    "/forecast/a\tb",
    "/forecast/a|b",
    '/forecast/a"b',
    "/forecast/<a>",
    "/forecast/a#b",
    "/forecast?a=\xe9",
    "forecast/x",
    "*",
    "http://edge/forecast/x",
    "http://other/forecast/x",
    "//edge/../..;/forecast",
    "/x/../forecast/paris",
    "/x/%2e%2e/forecast/paris",
    "/x/.%2E/forecast/paris",
    "/./forecast/./paris",
    "//forecast///paris",
    "/forecast/paris/..",
    "/../../forecast/paris",
    "/forecast/paris/.",
    "/forecast//",
    "/forecast/paris%7Eb",
]
PASSING = [
    "/forecast/%C3%A9?x=%2e%2e/%00&y=//..;",
    "/forecast/.well-known/..x/...",
    "/forecast/a:b@c/d,e=f/(g)!~*'$&+",
    "/forecast/a%20b%3Ac/%F0%9F%8C%A7",
    "/forecast/paris/",
]


@pytest.mark.parametrize("target", REFUSED)
def test_a_path_with_two_readings_is_refused(edge: World, target: str) -> None:
    answer = send(edge.settings.edge_port, request(f"GET {target} HTTP/1.1", "X-Api-Key: good", "Connection: close"))
    assert answer.statuses == [400], answer.raw
    assert not edge.router.seen
    assert not edge.backend.seen


@pytest.mark.parametrize("target", PASSING)
def test_a_path_is_the_same_for_admission_and_backend(edge: World, target: str) -> None:
    answer = send(edge.settings.edge_port, request(f"GET {target} HTTP/1.1", "X-Api-Key: good", "Connection: close"))
    assert answer.statuses == [200], answer.raw
    assert [seen.target for seen in edge.router.seen] == [f"/-/admit{target}"]
    assert [seen.target for seen in edge.backend.seen] == [f"/base{target.removeprefix('/forecast')}"]


@pytest.mark.parametrize("target", ["/x/../-/admit/forecast/x", "//-/admit", "/./metrics", "/%2d/admit", "/-%2fadmit"])
def test_no_trick_leads_to_what_is_internal(edge: World, target: str) -> None:
    answer = send(edge.settings.edge_port, request(f"GET {target} HTTP/1.1", "X-Api-Key: good", "Connection: close"))
    assert answer.statuses[0] in {400, 404}
    assert not edge.router.seen
