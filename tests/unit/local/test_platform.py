from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from apx.errors import Conflict, NotFound, Unavailable
from apx.local.folder import Folder
from apx.local.leftovers import leftovers
from apx.local.parts import Parts
from apx.local.platform import Platform, isolated, stop
from apx.local.preflight import check_vacant
from apx.local.process import Process
from apx.local.settings import LocalSettings, busy
from apx.local.status import healthy, rows
from apx.local.supervisor import Supervisor
from tests.unit.local.fakes import FakeSeeded, fake_seed, serving, small, two, unchecked
from tests.unit.local.until import until


def answer(url: str) -> str:
    with urllib.request.urlopen(f"{url}/healthz", timeout=5) as response:  # noqa: S310 -- our own process
        return str(response.read().decode())


def restarted(platform: Platform, old: int) -> None:
    until(lambda: platform.pid("edge") not in {0, old}, within_s=5)


def test_starts_every_process_and_hands_over_the_keys(platform: Platform) -> None:
    assert answer(platform.edge) == str(platform.pid("edge"))
    assert platform.keys == {"acme": "apx_demo"}
    assert platform.admin_token == "admin"


def test_the_end_of_the_block_leaves_no_process_and_no_port(home: Path) -> None:
    with Platform.start(isolated(home), parts=small()) as platform:
        port = platform.settings.edge_port
        assert busy(port)
    assert not leftovers(home)
    assert not busy(port)


def test_stopping_twice_is_fine(platform: Platform) -> None:
    platform.stop()
    platform.stop()
    assert not platform.running()


def test_what_comes_first_is_ready_before_keys_are_made_and_the_rest_starts_before_seeding(home: Path) -> None:
    seen: list[tuple[str, bool, bool]] = []

    def look(step: str, settings: LocalSettings) -> None:
        seen.append((step, bool(busy(settings.control_port)), bool(Supervisor(Folder(home)).processes()["edge"].pid)))

    def seed(settings: LocalSettings, gitops: Path, said: Callable[[str], None]) -> FakeSeeded:
        look("seed", settings)
        return fake_seed(settings, gitops, said)

    parts = Parts(check=unchecked, processes=two, prepare=partial(look, "prepare"), seed=seed)
    with Platform.start(isolated(home), parts=parts):
        assert seen == [("prepare", True, False), ("seed", True, True)]


def test_a_killed_process_is_back_within_seconds(platform: Platform) -> None:
    old = platform.kill("edge")
    restarted(platform, old)
    platform.wait_ready("edge", timeout_s=5)


def test_a_process_killed_many_times_in_a_row_comes_back_each_time(platform: Platform) -> None:
    for _ in range(5):
        old = platform.kill("edge")
        restarted(platform, old)
    platform.wait_ready("edge", timeout_s=5)
    assert next(row for row in rows(Folder(platform.home)) if row.process == "edge").restarts == 5


def test_a_process_that_ignores_sigterm_is_killed_in_its_time(home: Path) -> None:
    def deaf(settings: LocalSettings) -> list[Process]:
        return [serving("edge", settings.edge_port, "deaf", stop_s=1)]

    with Platform.start(isolated(home), parts=small(deaf)):
        pass
    assert not leftovers(home)


def test_a_process_that_keeps_crashing_at_the_start_is_told_with_its_last_words(home: Path) -> None:
    def crashing(settings: LocalSettings) -> list[Process]:
        return [serving("edge", settings.edge_port, "crash")]

    with pytest.raises(Unavailable, match=r"(?s)edge does not start: it stopped 3 times.*cannot go on: the reason"):
        Platform.start(isolated(home), parts=small(crashing))
    assert not leftovers(home)


def test_a_process_that_never_becomes_ready_is_told_with_what_it_lacks(home: Path) -> None:
    def unready(settings: LocalSettings) -> list[Process]:
        return [serving("edge", settings.edge_port, "unready", start_s=0.5)]

    with pytest.raises(
        Unavailable, match=r"edge does not start: it is not ready after 0.5 s \(GET /healthz answers 503"
    ):
        Platform.start(isolated(home), parts=small(unready))
    assert not leftovers(home)


def test_a_failing_seed_leaves_nothing_running(home: Path) -> None:
    def broken(*_: object) -> FakeSeeded:
        raise Unavailable("the store is away")

    with pytest.raises(Unavailable, match="the store is away"):
        Platform.start(isolated(home), parts=small(seed=broken))
    assert not leftovers(home)


def test_a_second_platform_in_the_same_folder_is_refused(platform: Platform) -> None:
    with pytest.raises(Conflict, match="already runs"):
        check_vacant(Folder(platform.home))


def test_a_start_beside_a_start_in_the_same_folder_is_refused(home: Path) -> None:
    folder = Folder(home)
    folder.make()
    with folder.starting(), pytest.raises(Conflict, match="at this moment"):
        Platform.start(isolated(home), parts=small())


def test_what_a_killed_supervisor_leaves_is_found_refused_and_ended(platform: Platform) -> None:
    folder = Folder(platform.home)
    daemon = psutil.Process(int((folder.run / "supervisord.pid").read_text()))
    daemon.kill()
    until(lambda: not Supervisor(folder).alive(), within_s=5)
    with pytest.raises(Conflict, match=r"`\./dev down` ends them"):
        check_vacant(folder)
    assert stop(folder)
    assert not leftovers(platform.home)
    assert not busy(platform.settings.edge_port)


def test_stopping_where_nothing_runs_says_so(home: Path) -> None:
    assert not stop(Folder(home))


def test_two_platforms_run_side_by_side(platform: Platform) -> None:
    other_home = platform.home / "other"
    with Platform.start(isolated(other_home), parts=small()) as other:
        other.stop()
        assert answer(platform.edge)


def test_the_status_tells_running_from_stopped(platform: Platform) -> None:
    folder = Folder(platform.home)
    assert healthy(rows(folder))
    os.kill(platform.pid("store"), signal.SIGSTOP)
    states = {row.process: row.state for row in rows(folder)}
    os.kill(platform.pid("store"), signal.SIGCONT)
    assert states == {"store": "not ready", "edge": "running"}


def test_an_unknown_name_is_told_with_the_known_ones(platform: Platform) -> None:
    with pytest.raises(NotFound, match="store, edge"):
        platform.kill("envoy")


def test_output_is_kept_in_a_log_for_each_process(platform: Platform) -> None:
    until(lambda: "hello" in platform.log("edge"), within_s=5)
