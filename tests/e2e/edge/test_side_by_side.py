"""Two releases of one product, each with its backend: the router says which of them an org gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from apx.catalog.model import Route
from apx.release.digest import short
from apx.release.model import Manifest
from tests.e2e.edge import tokens
from tests.e2e.edge.frames import get, headers, talk
from tests.e2e.edge.raw import request, send
from tests.e2e.edge.world import World, until
from tests.unit.edge.manifests import EVERYTHING, digest, manifest

pytestmark = pytest.mark.e2e
OLD, NEW = {"x-api-key": "old"}, {"x-api-key": "new"}


def pair(world: World, name: str = "forecast", **candidate: object) -> tuple[Manifest, Manifest]:
    at = f"http://127.0.0.1:{world.backend.port}"
    jwt = tokens.asked() if name == "payslips" else None
    small, large = Route(path="/body", max_body_bytes=100), Route(path="/body", max_body_bytes=100_000)
    only_old, only_new = Route(path="/only-old"), Route(path="/only-new", max_body_bytes=50)
    stall = Route(path="/stall", timeout_s=0.3)
    headers = {"x-served-by": "new"}
    stable = manifest(name, url=f"{at}/old", jwt=jwt, routes=(small, only_old, *EVERYTHING))
    url = f"{at}/new"
    routes = (large, only_new, stall, *EVERYTHING)
    new = manifest(name, jwt=jwt, **({"url": url, "routes": routes, "headers": headers} | candidate))  # type: ignore[arg-type]
    return stable, new


def both_arms(world: World, products: Sequence[tuple[Manifest, Manifest]]) -> None:
    """Let the router admit `old` and `new` to the first product's arms, `new-NAME` to each candidate."""
    new = {stable.product: short(digest(candidate)) for stable, candidate in products}
    world.router.arms = {
        "old": ("stable", short(digest(products[0][0]))),
        "new": ("candidate", new["forecast"]),
        "other": ("candidate", "0123456789ab"),
        **{f"new-{name}": ("candidate", release) for name, release in new.items()},
    }


@pytest.fixture(scope="module")
def both() -> Iterator[World]:
    world = World(edge_admit_timeout_s=5)
    try:
        products = [pair(world, name) for name in ("forecast", "payslips")]
        products.append(pair(world, "grpc", streaming=True))
        products.append(pair(world, "inside", url="http://10.0.0.1", allow_private=False))
        world.publish(*products, manifest("alone", url=f"http://127.0.0.1:{world.backend.port}/alone"))
        both_arms(world, products)
        yield world
    finally:
        world.close()


@pytest.fixture
def edge(both: World) -> World:
    both.forget()
    return both


def _targets(edge: World) -> list[str]:
    return [seen.target for seen in edge.backend.seen]


@pytest.mark.parametrize(("key", "at_backend"), [("old", "/old/x?q=1"), ("new", "/new/x?q=1")])
def test_an_org_is_served_by_its_arm(edge: World, key: str, at_backend: str) -> None:
    assert edge.call("GET", "/forecast/x?q=1", headers={"x-api-key": key}).status_code == 200
    assert _targets(edge) == [at_backend]
    assert edge.router.seen[0].target == "/-/admit/forecast/x?q=1"


def test_a_release_that_the_edge_does_not_know_is_served_by_the_stable_one(edge: World) -> None:
    assert edge.call("GET", "/forecast/x", headers={"x-api-key": "other"}).status_code == 200
    assert edge.call("GET", "/forecast/x", headers={"x-api-key": "good"}).status_code == 200  # no arm in the answer
    assert _targets(edge) == ["/old/x", "/old/x"]


def test_a_product_without_a_rollout_is_not_chosen_anew(edge: World) -> None:
    assert edge.call("GET", "/alone/x", headers=NEW).status_code == 200
    assert _targets(edge) == ["/alone/x"]
    assert not [name for name, _ in edge.backend.seen[0].headers if name.startswith("x-apx-")]


def _forged(release: str) -> dict[str, tuple[str, ...]]:
    return {
        "arm": ("x-apx-arm: candidate",),
        "release": (f"x-apx-release: {release}",),
        "capitals": ("X-APX-ARM: candidate", f"X-APX-RELEASE: {release}"),
        "twice": (f"x-apx-release: {release}", f"x-apx-release: {release}", "x-apx-arm: candidate"),
        "named by Connection": ("Connection: close, x-apx-release, x-apx-arm", f"x-apx-release: {release}"),
        "folded": (f"x-apx-release:\r\n {release}",),
        "listed": (f"x-apx-release: {release}, {release}",),
    }


FORGED = tuple(_forged(""))


@pytest.mark.parametrize("form", FORGED)
@pytest.mark.parametrize("key", ["old", "deny", "nobody"])
def test_no_client_chooses_its_arm(edge: World, form: str, key: str) -> None:
    release = edge.router.arms["new"][1]
    fields = _forged(release)[form]
    answer = send(edge.settings.edge_port, request("GET /forecast/x HTTP/1.1", *fields, f"x-api-key: {key}"))
    assert answer.statuses == [{"old": 200, "deny": 403, "nobody": 401}[key]]
    assert _targets(edge) == (["/old/x"] if key == "old" else [])
    assert not [value for seen in edge.router.seen for _, value in seen.headers if release in value]


def test_no_client_chooses_its_arm_over_http2(edge: World) -> None:
    release = edge.router.arms["new"][1].encode()
    forged = ((b"x-apx-release", release), (b"x-apx-arm", b"candidate"), (b"x-apx-release", release))
    talk(edge.settings.edge_port, headers(1, get(b"/forecast/x", (b"x-api-key", b"old"), *forged)))
    assert _targets(edge) == ["/old/x"]


def test_a_name_with_underscores_is_refused(edge: World) -> None:
    release = edge.router.arms["new"][1]
    field = f"x_apx_release: {release}"
    assert send(edge.settings.edge_port, request("GET /forecast/x HTTP/1.1", field, "x-api-key: old")).statuses == [400]
    assert not edge.router.seen


def test_a_connection_field_cannot_take_the_choice_away(edge: World) -> None:
    named = "Connection: close, x-apx-release"
    send(edge.settings.edge_port, request("GET /forecast/x HTTP/1.1", named, "x-api-key: new"))
    assert _targets(edge) == ["/new/x"]


@pytest.mark.parametrize(("key", "served_by"), [("old", None), ("new", "new")])
def test_a_backend_gets_its_own_headers_and_does_not_hear_of_the_arm(
    edge: World, key: str, served_by: str | None
) -> None:
    edge.call("GET", "/forecast/x", headers={"x-api-key": key})
    got = edge.backend.seen[0]
    assert got.header("x-tier") == "gold"
    assert got.header("x-served-by") == served_by
    assert got.header("x-api-key") is None
    assert not [name for name, _ in got.headers if name.startswith("x-apx-")]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("key", "size", "status"), [("old", 100, 200), ("old", 101, 413), ("new", 100_000, 200)])
def test_each_arm_has_its_own_body_limit(edge: World, key: str, size: int, status: int, *, declared: bool) -> None:
    content = b"a" * size if declared else iter([b"a" * 50, b"a" * (size - 50)])
    answer = edge.call("POST", "/forecast/body", headers={"x-api-key": key}, content=content)
    assert answer.status_code == status
    assert [len(seen.body) for seen in edge.backend.seen] == ([size] if status == 200 else [])


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_too_large_for_both_is_refused_before_admission(edge: World, *, declared: bool) -> None:
    size = 2_000_000
    content = b"a" * size if declared else iter([b"a" * 50_000] * 40)
    answer = edge.call("POST", "/forecast/body", headers=NEW, content=content)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert not edge.router.seen


def test_the_candidates_time_limit_is_its_own(edge: World) -> None:
    answer = edge.call("GET", "/forecast/stall", headers=NEW)
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    assert answer.elapsed.total_seconds() < 3


def test_a_path_that_one_arm_alone_has_is_a_matter_of_admission(edge: World) -> None:
    for key, path in (("new", "only-new"), ("old", "only-old")):
        assert edge.call("POST", f"/forecast/{path}", headers={"x-api-key": key}, content=b"a").status_code == 200
    assert edge.call("POST", "/forecast/only-new", headers=NEW, content=b"a" * 51).status_code == 413
    assert edge.call("POST", "/forecast/only-new", headers={"x-api-key": "deny"}).status_code == 403
    assert _targets(edge) == ["/new/only-new", "/old/only-old"]


@pytest.mark.parametrize("key", ["old", "new"])
def test_a_websocket_is_opened_on_the_orgs_arm(edge: World, key: str) -> None:
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"X-Api-Key: {key}")
    line = "GET /forecast/socket HTTP/1.1"
    answer = send(edge.settings.edge_port, request(line, *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
    assert answer.statuses == [101]
    assert _targets(edge) == [f"/{key}/socket"]


def test_events_of_a_streaming_candidate_come_through(edge: World) -> None:
    assert edge.call("GET", "/grpc/events", headers={"x-api-key": "new-grpc"}).text.count("data:") == 3
    assert _targets(edge) == ["/new/events"]


def test_a_body_that_was_not_counted_does_not_reach_the_arm_that_does_not_stream(edge: World) -> None:
    headers = {"content-type": "application/grpc", "x-api-key": "old"}
    answer = edge.call("POST", "/grpc/x", headers=headers, content=iter([b"a" * 500] * 9))
    assert answer.headers["grpc-message"].startswith('{"code":"body-too-large"')  # Envoy's form of a 413 for gRPC
    assert not edge.backend.seen
    assert edge.call("POST", "/grpc/x", headers=headers, content=b"a").status_code == 200
    assert _targets(edge) == ["/old/x"]


def test_a_candidate_that_cannot_be_served_fails_its_own_orgs_alone(edge: World) -> None:
    assert edge.call("GET", "/inside/x", headers={"x-api-key": "new-inside"}).status_code == 503
    assert edge.call("GET", "/inside/x", headers=OLD).status_code == 200
    assert _targets(edge) == ["/old/x"]


@pytest.mark.parametrize("key", ["old", "new-payslips"])
def test_a_token_is_asked_for_on_both_arms(edge: World, key: str) -> None:
    good, bad = (
        {"x-api-key": key, "authorization": f"Bearer {t}"} for t in (tokens.good(), tokens.bad()["another key"])
    )
    assert edge.call("GET", "/payslips/x", headers={"x-api-key": key}).status_code == 401
    assert edge.call("GET", "/payslips/x", headers=bad).status_code == 401
    assert not edge.router.seen
    assert edge.call("GET", "/payslips/x", headers=good).status_code == 200
    assert _targets(edge) == [f"/{key.partition('-')[0]}/x"]


def test_the_log_names_the_arms_route(edge: World) -> None:
    name = edge.call("GET", "/forecast/x", headers=NEW).headers["x-request-id"]
    until(lambda: name in edge.said())
    line = next(line for line in edge.said().splitlines() if name in line)
    assert '"route":"forecast@candidate"' in line
    assert f'"release":"{edge.router.arms["new"][1]}"' in line


@pytest.mark.parametrize(("key", "status"), [("old", 504), ("new", None)])
def test_each_arm_may_be_silent_for_its_own_time(key: str, status: int | None) -> None:
    """The time limits of the first route, by which admission is asked for, do not stay."""
    world = World(edge_admit_timeout_s=5, edge_stream_idle_timeout_s=0.5)
    try:
        url = f"http://127.0.0.1:{world.backend.port}"
        stable, candidate = (
            manifest("forecast", url=url, timeout_s=0.4),
            manifest("forecast", url=url, streaming=True),
        )
        world.publish((stable, candidate))
        both_arms(world, [(stable, candidate)])
        line = request("GET /forecast/stall HTTP/1.1", f"x-api-key: {key}")
        answer = send(world.settings.edge_port, line, wait_s=1.2)
        assert answer.statuses == ([status] if status else [])
    finally:
        world.close()
