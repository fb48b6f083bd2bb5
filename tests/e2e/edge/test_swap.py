"""Configurations are swapped while requests run; what cannot be served changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from apx.catalog.model import Jwt
from apx.release.digest import short
from apx.release.model import Manifest
from apx.rollout.arms import Arms
from services.edge.admin import drain
from services.edge.clusters import backend_cluster_names
from services.edge.files import Files, replace_file
from services.edge.follow import follow
from services.edge.grace import grace_s
from tests.e2e.edge import tokens
from tests.e2e.edge.raw import request, send
from tests.e2e.edge.world import World, until
from tests.unit.edge.manifests import digest, manifest, served

pytestmark = pytest.mark.e2e
GOOD = {"x-api-key": "good"}


@pytest.fixture(scope="module")
def swapped() -> Iterator[World]:
    world = World(edge_drain_s=2, edge_admit_timeout_s=10)  # the router is a fake in this process: it may be slow
    try:
        yield world
    finally:
        world.close()


def _url(world: World, path: str = "/base") -> str:
    return f"http://127.0.0.1:{world.backend.port}{path}"


def test_no_request_fails_while_configurations_are_swapped(swapped: World) -> None:
    always = [manifest("payslips", url=_url(swapped), jwt=tokens.asked()), manifest("orders", mode="async")]
    one, beside = (manifest("forecast", url=_url(swapped, path)) for path in ("/one", "/beside"))
    sets: list[list[Manifest | tuple[Manifest, Manifest]]] = [
        [*always, one],
        [*always, (one, beside)],
        [*always, manifest("forecast", url=_url(swapped, "/two")), manifest("late", jwt=tokens.asked())],
        [*always, manifest("forecast", url=_url(swapped, "/three"), concurrency=32), manifest("other")],
    ]
    swapped.publish(*sets[0])
    swapped.forget()
    load = asyncio.run_coroutine_threadsafe(_load(swapped, for_s=3.0), swapped.loop.loop)
    swaps = 0
    while not load.done():
        swaps += 1
        swapped.publish(*sets[swaps % len(sets)])
    statuses, connections = load.result()
    assert swaps >= 5
    assert len(statuses) > 300
    assert set(statuses) == {200, 202}
    assert connections == 6
    assert {seen.target.split("/")[1] for seen in swapped.backend.seen} == {"one", "two", "three", "base"}
    assert not [line for line in swapped.said().splitlines() if '"status":5' in line]


def test_a_request_that_waits_for_admission_ends_on_the_backend_of_its_route(swapped: World) -> None:
    swapped.publish(manifest("forecast", url=_url(swapped, "/old")))
    swapped.forget()
    waiting = asyncio.run_coroutine_threadsafe(_read(f"{swapped.url}/forecast/x", "held"), swapped.loop.loop)
    until(lambda: bool(swapped.router.seen))
    swapped.publish(manifest("forecast", url=_url(swapped, "/new")))
    swapped.publish(manifest("orders", mode="async"))
    swapped.loop.run(swapped.router.let_go())
    assert "backend" in waiting.result(5)
    assert [seen.target for seen in swapped.backend.seen] == ["/old/x"]


@pytest.mark.parametrize("ends", ["promoted", "aborted"])
def test_a_request_that_waits_for_admission_while_a_rollout_ends_is_served_by_its_arm(ends: str) -> None:
    world = World(edge_admit_timeout_s=10)
    try:
        stable, candidate = (manifest("forecast", url=_url(world, path)) for path in ("/old", "/new"))
        world.router.arms["held"] = ("candidate", short(digest(candidate)))
        world.publish((stable, candidate))
        waiting = asyncio.run_coroutine_threadsafe(_read(f"{world.url}/forecast/x", "held"), world.loop.loop)
        until(lambda: bool(world.router.seen))
        world.publish(candidate if ends == "promoted" else stable)
        world.loop.run(world.router.let_go())
        assert "backend" in waiting.result(5)
        assert [seen.target for seen in world.backend.seen] == ["/new/x"]
    finally:
        world.close()


def test_the_backend_of_an_old_route_is_forgotten_after_its_grace(swapped: World) -> None:
    old, new = (manifest("forecast", url=_url(swapped, path)) for path in ("/forgotten", "/new"))
    swapped.publish(old)
    gone = f"cluster.{backend_cluster_names(old)[0]}.membership_total"
    rendered = swapped.publish(new)
    assert swapped.loop.run(swapped.admin.stats(gone))
    swapped.clock.advance(grace_s(swapped.settings))
    swapped.loop.run(swapped.files.tidy(rendered))
    assert not swapped.loop.run(swapped.admin.stats(gone))
    assert swapped.call("GET", "/forecast/x", headers=GOOD).status_code == 200


def test_a_request_under_way_ends_on_the_backend_where_it_began(swapped: World) -> None:
    swapped.publish(manifest("stream", url=_url(swapped, "/old"), streaming=True))
    running = asyncio.run_coroutine_threadsafe(_read(f"{swapped.url}/stream/events"), swapped.loop.loop)
    until(lambda: any(seen.target == "/old/events" for seen in swapped.backend.seen))
    swapped.publish(manifest("orders", mode="async"))
    assert running.result(5).count("data:") == 3
    assert swapped.call("GET", "/stream/events").headers["x-from"] == "router"


def test_an_envoy_that_refuses_a_file_keeps_the_last_good_and_shows_it(swapped: World) -> None:
    swapped.publish(manifest("forecast", url=_url(swapped)))
    before = swapped.loop.run(swapped.admin.rejected())["routes"]
    path = swapped.settings.folder / "routes.json"
    good = path.read_bytes()
    replace_file(path, good.replace(b'"prefix_match_map"', b'"no_such_field"'))
    until(lambda: swapped.loop.run(swapped.admin.rejected())["routes"] == before + 1)
    assert swapped.call("GET", "/forecast/paris", headers=GOOD).status_code == 200
    replace_file(path, good)


def test_what_fails_to_validate_is_never_written(swapped: World) -> None:
    good = manifest("forecast", url=_url(swapped))
    broken = manifest("broken", url=_url(swapped), headers={"x-bad": "a\r\nb"})
    swapped.loop.run(follow(_once([good]), swapped.settings))
    before = (swapped.settings.folder / "routes.json").read_bytes()
    swapped.loop.run(follow(_once([good, broken]), swapped.settings))
    assert (swapped.settings.folder / "routes.json").read_bytes() == before


def test_one_product_that_cannot_be_served_is_closed_and_holds_up_no_other(swapped: World) -> None:
    keys = json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]})
    bad = manifest("secret", url=_url(swapped), jwt=Jwt(issuer="i", audiences=("a",), jwks=keys))
    inside = manifest("inside", url=_url(swapped), allow_private=False)
    rendered = swapped.publish(manifest("forecast", url=_url(swapped)), bad, inside)
    assert set(rendered.refused) == {"secret", "inside"}
    swapped.forget()
    assert swapped.call("GET", "/secret/x", headers=GOOD).status_code == 503
    assert swapped.call("GET", "/inside/x", headers=GOOD).status_code == 503
    assert not swapped.router.seen
    assert swapped.call("GET", "/forecast/paris", headers=GOOD).status_code == 200


def test_a_name_that_leads_inside_is_connected_to_nowhere(swapped: World) -> None:
    rebound = manifest("rebound", url=f"http://rebound.test:{swapped.backend.port}/x", allow_private=False)

    async def inside(_: str) -> Sequence[str]:
        return ["127.0.0.1"]

    swapped.loop.run(follow(_once([rebound]), swapped.settings, inside))
    swapped.forget()
    assert swapped.call("GET", "/rebound/x", headers=GOOD).status_code == 503
    assert not swapped.backend.seen


def test_an_operator_may_redirect_a_name(swapped: World) -> None:
    to = f"demo.test:80=127.0.0.1:{swapped.backend.port}"
    settings = swapped.settings.model_copy(update={"connect_to": to})
    swapped.loop.run(follow(_once([manifest("demo", url="http://demo.test/a", allow_private=False)]), settings))
    swapped.forget()
    assert swapped.call("GET", "/demo/x", headers=GOOD).status_code == 200
    assert swapped.backend.seen[0].header("host") == "demo.test"


def test_keys_are_fetched_from_the_issuer_and_from_nowhere_else(swapped: World) -> None:
    keys = Jwt(issuer=tokens.ISSUER, audiences=(tokens.AUDIENCE,), jwks_url="http://keys.test/jwks")
    settings = swapped.settings.model_copy(
        update={"connect_to": f"keys.test:80=127.0.0.1:{swapped.backend.port}", "home": swapped.home}
    )
    swapped.forget()
    swapped.loop.run(follow(_once([manifest("letters", mode="async", jwt=keys)]), settings))
    until(lambda: _status(swapped, tokens.good()) == 202)
    assert {name: _status(swapped, token) for name, token in tokens.bad().items()} == dict.fromkeys(tokens.bad(), 401)
    assert {seen.target for seen in swapped.backend.seen} == {"/jwks"}
    assert len(swapped.backend.seen) == 1


def _status(world: World, token: str) -> int:
    return world.call("GET", "/letters/x", headers=GOOD | {"authorization": f"Bearer {token}"}).status_code


def test_a_drained_edge_ends_what_runs_and_takes_nothing_new() -> None:
    world = World(edge_drain_s=1)
    try:
        world.publish(manifest("stream", url=_url(world), streaming=True))
        running = asyncio.run_coroutine_threadsafe(_read(f"{world.url}/stream/events"), world.loop.loop)
        until(lambda: bool(world.backend.seen))
        assert world.loop.run(drain(world.settings))
        assert running.result(5).count("data:") == 3
        with pytest.raises(ConnectionError):
            send(world.settings.edge_port, request("GET /orders HTTP/1.1"))
    finally:
        world.close()


def test_a_pod_drains_its_edge_by_a_command() -> None:
    world = World(edge_drain_s=1)
    try:
        environment = os.environ | {"APX_HOME": str(world.home), "APX_EDGE_DRAIN_S": "1"}
        subprocess.run([sys.executable, "-m", "services.edge.drain", "0"], env=environment, check=True)
        with pytest.raises(ConnectionError):
            send(world.settings.edge_port, request("GET /orders HTTP/1.1"))
    finally:
        world.close()


def test_the_files_of_last_time_are_what_the_next_start_serves(swapped: World) -> None:
    swapped.publish(manifest("forecast", url=_url(swapped)))
    folder: Path = swapped.settings.folder
    kept = (folder / "routes.json").read_bytes()
    Files(swapped.settings).start_from(swapped.render(()))
    assert (folder / "routes.json").read_bytes() == kept


async def _once(manifests: Sequence[Manifest]) -> AsyncIterator[Sequence[Arms[Manifest]]]:
    yield served(*manifests)


async def _read(url: str, key: str = "good") -> str:
    async with aiohttp.ClientSession(headers={"x-api-key": key}) as session, session.get(url) as answer:
        return await answer.text()


async def _load(world: World, *, for_s: float) -> tuple[list[int], int]:
    """Ask for three kinds of products on six connections; return every status and how many connections were made."""
    statuses: list[int] = []
    opened = 0

    async def count(*_: object) -> None:
        nonlocal opened
        opened += 1

    async def caller(session: aiohttp.ClientSession) -> None:
        ends = time.monotonic() + for_s
        token = {"authorization": f"Bearer {tokens.good()}"}
        while time.monotonic() < ends:
            for path, headers in (("/forecast/x", {}), ("/orders", {}), ("/payslips/7", token)):
                async with session.get(world.url + path, headers=GOOD | headers) as answer:
                    await answer.read()
                    statuses.append(answer.status)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(aiohttp.ClientSession(trace_configs=[trace])) for _ in range(6)]
        await asyncio.gather(*map(caller, sessions))
    return statuses, opened


def test_tokens_that_cannot_be_verified_pass_nowhere() -> None:
    """A file of issuers that Envoy refuses at its start leaves no verifier: products with tokens are then closed."""
    world = World()
    try:
        world.envoy.kill()
        world.envoy.wait(10)
        world.loop.run(
            Files(world.settings).publish(world.render([manifest("letters", mode="async", jwt=tokens.asked())]))
        )
        replace_file(world.settings.folder / "filters.json", b'{"version_info":"x","resources":[{"@type":"nothing"}]}')
        world.start_envoy()
        world.forget()
        for token in (tokens.good(), tokens.bad()["another key"]):
            assert _status(world, token) >= 500
        assert not world.router.seen
    finally:
        world.close()
