from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.catalog.model import Jwt
from apx.clock import ManualClock
from services.edge.files import Files, replace_file
from services.edge.grace import Grace, grace_s
from services.edge.problems import PROBLEMS, REQUEST_ID, local_replies
from services.edge.render import render
from services.edge.settings import EdgeSettings
from tests.unit.edge.keys import rsa_jwks
from tests.unit.edge.manifests import manifest, served

TOKEN = Jwt(issuer="https://issuer.test", audiences=("apx",), jwks=rsa_jwks())


@pytest.fixture
def settings(tmp_path: Path) -> EdgeSettings:
    return EdgeSettings(home=tmp_path)


def _names(settings: EdgeSettings, name: str) -> list[str]:
    found: list[dict[str, Any]] = json.loads((settings.folder / f"{name}.json").read_bytes())["resources"]
    return [one["name"].rsplit("-", 1)[0] for one in found]


def _providers(settings: EdgeSettings) -> set[str]:
    found: list[dict[str, Any]] = json.loads((settings.folder / "filters.json").read_bytes())["resources"]
    return set(found[0]["typed_config"]["providers"])


def test_an_envoy_can_start_before_anything_is_released(settings: EdgeSettings) -> None:
    assert not Files(settings).complete
    Files(settings).start_from(render((), settings))
    assert Files(settings).complete


async def test_without_an_envoy_the_files_are_simply_written(settings: EdgeSettings) -> None:
    assert await Files(settings).publish(render(served(manifest("a")), settings))
    assert _names(settings, "clusters") == ["backend-a"]


async def test_what_is_replaced_stays_until_no_request_can_ask_for_it(settings: EdgeSettings) -> None:
    clock = ManualClock()
    files = Files(settings, clock)
    await files.publish(render(served(manifest("a", jwt=TOKEN)), settings))
    await files.publish(render(served(manifest("b", jwt=TOKEN)), settings))
    assert set(_names(settings, "clusters")) == {"backend-a", "backend-b"}
    assert _providers(settings) == {"a", "b"}
    clock.advance(grace_s(settings) - 1)
    last = render(served(manifest("c")), settings)
    await files.publish(last)
    assert set(_names(settings, "clusters")) == {"backend-a", "backend-b", "backend-c"}
    clock.advance(1)
    await files.tidy(last)
    assert set(_names(settings, "clusters")) == {"backend-b", "backend-c"}
    assert _providers(settings) == {"b"}


async def test_what_comes_back_within_its_grace_begins_anew(settings: EdgeSettings) -> None:
    clock = ManualClock()
    files = Files(settings, clock)
    for name in ("a", "b", "a", "b"):
        await files.publish(render(served(manifest(name)), settings))
        clock.advance(grace_s(settings) - 1)
    assert set(_names(settings, "clusters")) == {"backend-a", "backend-b"}


async def test_what_another_process_left_has_a_grace_too(settings: EdgeSettings) -> None:
    await Files(settings, ManualClock()).publish(render(served(manifest("a")), settings))
    await Files(settings, ManualClock()).publish(render(served(manifest("b")), settings))
    assert set(_names(settings, "clusters")) == {"backend-a", "backend-b"}


def test_the_grace_lasts_as_long_as_a_request_may_be_on_its_way_to_admission(settings: EdgeSettings) -> None:
    assert grace_s(settings) > settings.edge_request_timeout_s + settings.edge_admit_timeout_s


@given(st.lists(st.sets(st.integers(0, 20)), max_size=20), st.integers(0, 5))
def test_no_more_is_kept_than_the_bound_and_the_newest_of_it(sets: list[set[int]], most: int) -> None:
    clock = ManualClock()
    grace = Grace(100.0, clock, most)
    there: set[str] = set()
    for names in sets:
        needed = {str(name) for name in names}
        before = there - needed
        kept = grace.kept(there, needed)
        assert kept <= before
        assert len(kept) == min(len(before), most)
        there = needed | kept
        clock.advance(1)


async def test_a_start_keeps_what_was_served_last(settings: EdgeSettings) -> None:
    await Files(settings).publish(render(served(manifest("a")), settings))
    Files(settings).start_from(render((), settings))
    assert _names(settings, "clusters") == ["backend-a"]


async def test_a_file_that_does_not_change_is_not_touched(settings: EdgeSettings) -> None:
    await Files(settings).publish(render(served(manifest("a")), settings))
    before = {path.name: path.stat().st_ino for path in settings.folder.iterdir()}
    await Files(settings).publish(render(served(manifest("a"), manifest("b", mode="async")), settings))
    assert {path.name: path.stat().st_ino for path in settings.folder.iterdir()} == before


async def test_a_damaged_file_is_replaced(settings: EdgeSettings) -> None:
    await Files(settings).publish(render(served(manifest("a")), settings))
    (settings.folder / "clusters.json").write_bytes(b"{")
    await Files(settings).publish(render(served(manifest("a")), settings))
    assert _names(settings, "clusters") == ["backend-a"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    replace_file(tmp_path / "a.json", b"one")
    replace_file(tmp_path / "a.json", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"two"


def test_each_problem_of_the_edge_has_its_code_and_its_request() -> None:
    mappers = local_replies()["mappers"]
    bodies = [one["body_format_override"]["json_format"] for one in mappers if "status_code" in one]
    assert {body["status"] for body in bodies} == set(PROBLEMS) - {500}
    assert all(body["request_id"] == REQUEST_ID for body in bodies)
    assert len({code for code, _ in PROBLEMS.values()}) == len(PROBLEMS)
