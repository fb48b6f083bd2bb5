from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.edge.files import Files, replace_file
from services.edge.problems import PROBLEMS, REQUEST_ID, local_replies
from services.edge.render import render
from services.edge.settings import EdgeSettings
from tests.unit.edge.manifests import manifest


@pytest.fixture
def settings(tmp_path: Path) -> EdgeSettings:
    return EdgeSettings(home=tmp_path)


def _names(settings: EdgeSettings, name: str) -> list[str]:
    found: list[dict[str, Any]] = json.loads((settings.folder / f"{name}.json").read_bytes())["resources"]
    return [one["name"].rsplit("-", 1)[0] for one in found]


def test_an_envoy_can_start_before_anything_is_released(settings: EdgeSettings) -> None:
    assert not Files(settings).complete
    Files(settings).start_from(render((), settings))
    assert Files(settings).complete


async def test_without_an_envoy_the_files_are_simply_written(settings: EdgeSettings) -> None:
    assert await Files(settings).publish(render([manifest("a")], settings))
    assert await Files(settings).publish(render([manifest("b")], settings))
    assert _names(settings, "clusters") == ["backend-b"]


async def test_a_start_keeps_what_was_served_last(settings: EdgeSettings) -> None:
    await Files(settings).publish(render([manifest("a")], settings))
    Files(settings).start_from(render((), settings))
    assert _names(settings, "clusters") == ["backend-a"]


async def test_a_file_that_does_not_change_is_not_touched(settings: EdgeSettings) -> None:
    await Files(settings).publish(render([manifest("a")], settings))
    before = {path.name: path.stat().st_ino for path in settings.folder.iterdir()}
    await Files(settings).publish(render([manifest("a"), manifest("b", mode="async")], settings))
    assert {path.name: path.stat().st_ino for path in settings.folder.iterdir()} == before


async def test_a_damaged_file_is_replaced(settings: EdgeSettings) -> None:
    await Files(settings).publish(render([manifest("a")], settings))
    (settings.folder / "clusters.json").write_bytes(b"{")
    await Files(settings).publish(render([manifest("a")], settings))
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
