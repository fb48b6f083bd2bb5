from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.main import get_command

from apx.admission.keys import well_formed
from apx.bootstrap import Backends, operator
from apx.cli.main import app
from apx.requests.model import Envelope, Problem, Result
from apx.requests.ports import ProductBounds, Settlement
from tests.unit.cli.ran import Ran, Run

GITOPS = Path(__file__).parents[3] / "gitops"
APX = [sys.executable, "-m", "apx.cli.main"]


def commands(command: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [before]
    for name, inner in getattr(command, "commands", {}).items():
        found += commands(inner, (*before, name))
    return found


@pytest.mark.parametrize("words", commands(get_command(app)), ids=" ".join)
def test_each_command_explains_itself(run: Run, words: tuple[str, ...]) -> None:
    ran = run(*words, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "Usage:" in ran.out


WRONG_USAGE = {
    "nothing": (),
    "unknown command": ("fly",),
    "unknown option": ("status", "--fast"),
    "missing argument": ("release", "show"),
    "missing option": ("key", "create"),
    "a number that is none": ("dlq", "list", "--limit", "many"),
    "a limit of nothing": ("dlq", "list", "--limit", "0"),
    "a group alone": ("release",),
}


@pytest.mark.parametrize("words", WRONG_USAGE.values(), ids=WRONG_USAGE.keys())
def test_wrong_usage_is_two(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).code == 2


WITHOUT_STORE = {
    "status": ("status",),
    "keys": ("key", "list"),
    "revoke": ("key", "revoke", "key_1"),
    "create": ("key", "create", "--org", "acme"),
    "show": ("key", "show", "key_1"),
    "rotate": ("key", "rotate", "key_1"),
    "lanes": ("requests", "list"),
    "get": ("requests", "get", "req_1"),
    "letters": ("dlq", "list"),
    "replay": ("dlq", "replay", "1"),
}


@pytest.mark.parametrize("words", WITHOUT_STORE.values(), ids=WITHOUT_STORE.keys())
def test_without_a_store_there_is_a_message_and_one(run: Run, words: tuple[str, ...]) -> None:
    ran = run(*words)
    assert (ran.code, ran.out) == (1, "")
    assert "the store does not answer" in ran.err
    assert "Traceback" not in ran.err


ERRORS = {
    "no tree": (("validate", "/nowhere"), ""),
    "unknown release": (("release", "show", "abc"), "no stored release starts with 'abc'"),
    "no digits": (("release", "verify", "sha256:"), "no stored release starts with"),
    "nothing to activate": (("release", "activate"), "apx release build"),
    "unknown org": (("key", "create", "--org", "nobody"), "no org 'nobody'"),
    "unknown key": (("key", "revoke", "key_9"), "no key 'key_9'"),
    "an environment that no key can name": (("key", "create", "--org", "acme", "--environment", "A B"), "environment"),
    "unknown key to show": (("key", "show", "key_9"), "no key 'key_9'"),
    "unknown key to rotate": (("key", "rotate", "key_9"), "no key 'key_9'"),
    "no period": (("key", "rotate", "key_9", "--grace", "soon"), "'soon' is no period"),
    "no time": (("key", "create", "--org", "acme", "--expires", "soon"), "'soon' is neither"),
    "no file": (("key", "leaked", "/nowhere"), "No such file"),
    "unknown request": (("requests", "get", "req_9"), "nothing is stored"),
    "unknown letter": (("dlq", "replay", "9"), "no dead letter 9"),
    "unknown product": (("release", "build", "--product", "nothing"), "no product 'nothing'"),
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("words", "said"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_a_message_and_one(run: Run, words: tuple[str, ...], said: str) -> None:
    ran = run(*words)
    assert ran.code == 1
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_setting_that_is_wrong_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APX_VALKEY_URL", "ftp://x:hunter2@y")
    ran = run("status")
    assert ran.code == 1
    assert "hunter2" not in ran.err


@pytest.mark.usefixtures("store")
def test_a_data_folder_that_cannot_be_one_is_a_message(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    ran = run("release", "verify", "sha256:" + "0" * 64)
    assert ran.code == 1
    assert "Traceback" not in ran.err


@pytest.mark.usefixtures("store")
def test_a_disk_that_is_full_is_a_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("apx.cli.status.print_json", full)
    ran = run("status", "--json")
    assert (ran.code, ran.err) == (1, "[Errno 28] No space left on device\n")


@pytest.mark.usefixtures("store")
def test_an_interruption_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("apx.cli.status.print_json", interrupt)
    assert run("status", "--json").code == 130


JSON = {
    "status": (("status", "--json"), {"revision": 0, "products": {}}),
    "keys": (("key", "list", "--json"), []),
    "releases": (("release", "list", "--json"), []),
    "lanes": (("requests", "list", "--json"), []),
    "letters": (("dlq", "list", "--json"), []),
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("words", "document"), JSON.values(), ids=JSON.keys())
def test_json_is_one_document(run: Run, words: tuple[str, ...], document: object) -> None:
    ran = run(*words)
    assert (ran.code, ran.json) == (0, document)


@pytest.mark.usefixtures("store")
def test_a_key_is_shown_once(run: Run) -> None:
    made = run("key", "create", "--org", "acme", "--note", "n", "--json").json
    listed = run("key", "list", "--json")
    assert well_formed(made["key"])
    assert listed.json == [{name: value for name, value in made.items() if name != "key"}]
    assert made["key"] not in listed.out


@pytest.mark.usefixtures("store")
def test_only_the_key_is_on_stdout(run: Run) -> None:
    ran = run("key", "create", "--org", "acme")
    assert well_formed(ran.out.strip())
    assert ran.out.strip() not in ran.err


@pytest.mark.usefixtures("store")
def test_a_revoked_key_is_gone(run: Run) -> None:
    made = run("key", "create", "--org", "acme", "--json").json
    assert run("key", "revoke", made["id"], "--json").json == {"id": made["id"], "org": "acme", "revoked": True}
    assert run("key", "list", "--json").json == []


@pytest.mark.usefixtures("store")
def test_a_table_that_nobody_looks_at_has_no_colour(run: Run) -> None:
    assert run("key", "list").out == "KEY\tORG\tPRODUCTS\tCREATED\tLIMITS\tNOTE\n"


async def letters(store: Backends, count: int, backlog: int = 10) -> list[str]:
    """Have requests given up; return their letters, the newest first."""
    for number in range(count):
        envelope = Envelope(
            id=f"req_{number}",
            org="acme",
            key_id="key_1",
            product="orders",
            release="sha256:" + "0" * 64,
            lane="org",
            method="POST",
            path="/",
            query="",
            headers=(),
            body=b"",
            accepted_ms=0,
            deadline_ms=2**50,
            timeout_s=1.0,
            backlog=backlog,
        )
        await store.bus.publish(envelope)
        (delivery,) = await store.bus.receive("w", [ProductBounds("orders", 1, 1)], 1)
        result = Result(
            id=envelope.id,
            org="acme",
            product="orders",
            release=envelope.release,
            state="failed",
            accepted_ms=0,
            finished_ms=0,
        )
        why = Problem(code="backend-failed", detail="d")
        await store.bus.settle([Settlement(delivery=delivery, result=result, dead_letter=why)])
    return [letter.id for letter in await store.bus.dead_letters()]


async def in_thread(run: Run, *words: str) -> Ran:
    """Run a command, which has a loop of its own, from a test that has one."""
    return await asyncio.to_thread(run, *words)


async def test_a_replayed_letter_is_queued_under_a_new_id(run: Run, store: Backends) -> None:
    (letter,) = await letters(store, 1)
    (replayed,) = (await in_thread(run, "dlq", "replay", letter, "--json")).json
    assert replayed["request"] == "req_0"
    assert replayed["replayed_as"].startswith("req_")
    assert await store.bus.depth() == {("orders", "acme"): 1}
    assert await store.bus.dead_letters() == []


async def test_a_letter_named_twice_is_replayed_once(run: Run, store: Backends) -> None:
    (letter,) = await letters(store, 1)
    await in_thread(run, "dlq", "replay", letter, letter)
    assert await store.bus.depth() == {("orders", "acme"): 1}


async def test_a_letter_that_finds_no_room_is_kept(run: Run, store: Backends) -> None:
    newest, oldest = await letters(store, 2, backlog=1)
    ran = await in_thread(run, "dlq", "replay", newest, oldest)
    assert ran.code == 1
    assert "backlog" in ran.err
    assert [letter.id for letter in await store.bus.dead_letters()] == [oldest]


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "APX_HOME": str(tmp_path), "APX_GITOPS": str(GITOPS)}


def test_a_reader_that_goes_away_is_no_traceback(outside: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*APX, "validate", str(GITOPS)], stdout=writer, stderr=subprocess.PIPE, env=outside, timeout=60, check=False
    )
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_a_terminal_that_knows_only_ascii_is_no_traceback(outside: dict[str, str]) -> None:
    environment = {**outside, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*APX, "--help"], capture_output=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupted_process_ends_with_130(outside: dict[str, str], tmp_path: Path) -> None:
    opa = tmp_path / "opa"
    opa.write_text("#!/bin/sh\necho started >&2\nexec sleep 30\n")
    opa.chmod(0o755)
    process = subprocess.Popen(
        [*APX, "policy", "test"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**outside, "APX_OPA": str(opa)},
        start_new_session=True,
    )
    try:
        deadline = 200
        while not _children(process.pid) and deadline:
            deadline -= 1
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _children(pid: int) -> bool:
    return bool(psutil.Process(pid).children())


def test_a_user_without_a_name_goes_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert operator() == f"uid {os.getuid()}"
