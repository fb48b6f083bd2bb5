"""`apx key`, beyond what every command does."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from apx.admission.keys import KeyRecord, mint, sha256_of, well_formed
from apx.bootstrap import Backends
from apx.errors import Unavailable
from tests.unit.cli.ran import Run

pytestmark = pytest.mark.usefixtures("store")


def given(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def created(run: Run, *words: str) -> Any:
    return run("key", "create", "--org", "acme", "--json", *words).json


def test_a_key_is_made_on_terms(run: Run) -> None:
    made = created(
        run,
        *("--scope", "orders=get,POST", "--scope", "forecast", "--allow", "203.0.113.0/24"),
        *("--metadata", "team=a=b", "--expires", "90d", "--environment", "live"),
    )
    assert made["scopes"] == {"orders": ["GET", "POST"], "forecast": []}
    assert (made["allowlist"], made["metadata"]) == (["203.0.113.0/24"], {"team": "a=b"})
    assert made["expires_ms"] - made["created_ms"] == pytest.approx(90 * 86_400_000, abs=5_000)
    assert made["prefix"] == "apx_live"


def test_a_key_has_limits_of_its_own(run: Run) -> None:
    made = created(run, "--rate", "5", "--burst", "10", "--quota", "month=20000", "--quota", "day=1000")
    assert (made["rate"], made["quotas"]) == ({"per_second": 5.0, "burst": 10}, {"day": 1000, "month": 20_000})
    assert "\t5 a second (burst 10), 1000 a day, 20000 a month\t" in run("key", "list").out
    assert run("key", "limit", made["id"], "--rate", "0.5").out == f"{made['id']} of acme: 0.5 a second (burst 1)\n"
    assert run("key", "show", made["id"], "--json").json["quotas"] == {}
    assert run("key", "limit", made["id"]).out == f"{made['id']} of acme: no limits of its own\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--burst", "10"), "--burst"),
        (("--rate", "nan"), "--rate"),
        (("--rate", "0"), "rate.per_second"),
        (("--quota", "week=10"), "--quota 'week=10'"),
        (("--quota", "day"), "--quota 'day'"),
        (("--quota", "day=-1"), "--quota 'day=-1'"),
        (("--quota", "day=5", "--quota", "day=6"), "--quota 'day=6'"),
        (("--rate", "5", "--quota", "day=4"), "under rate.burst 5"),
    ],
)
def test_limits_that_no_key_can_have_are_refused(run: Run, words: tuple[str, ...], said: str) -> None:
    ran = run("key", "create", "--org", "acme", *words)
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert run("key", "list", "--json").json == []


@pytest.mark.parametrize("at", ["2096-01-31T12:00:00Z", "2096-01-31T12:00:00", "2096-01-31T13:00:00+01:00"])
def test_an_end_is_a_time_too(run: Run, at: str) -> None:
    assert created(run, "--expires", at)["expires_ms"] == 3_978_849_600_000


def test_a_key_is_shown_without_itself(run: Run) -> None:
    made = created(run, "--note", "n")
    shown = run("key", "show", made["id"], "--json")
    assert shown.json == {name: value for name, value in made.items() if name != "key"}
    table = run("key", "show", made["id"]).out
    assert f"id\t{made['id']}\n" in table
    assert "note\tn\n" in table
    assert made["key"] not in shown.out + table


def test_a_rotated_key_is_alone_on_stdout(run: Run) -> None:
    made = created(run)
    ran = run("key", "rotate", made["id"], "--grace", "30m")
    assert well_formed(ran.out.strip())
    assert ran.out.strip() not in ran.err
    old = run("key", "show", made["id"], "--json").json
    assert old["replaced_by"] in ran.err
    again = run("key", "rotate", made["id"])
    assert (again.code, again.out) == (1, "")
    assert "was replaced by" in again.err


def test_hashed_keys_are_imported_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"sha256": sha256_of(f"sk_live_{n}"), "org": "acme", "prefix": "sk_live_"} for n in range(3)]
    given(monkeypatch, "\n".join(map(json.dumps, lines)).encode())
    ran = run("key", "import", "-")
    assert (ran.code, len(ran.out.split()), ran.err) == (0, 3, "3 imported, 0 were there already\n")
    given(monkeypatch, "\n".join(map(json.dumps, lines)).encode())
    assert run("key", "import", "-", "--json").json == {"added": [], "known": 3}
    assert {one["prefix"] for one in run("key", "list", "--json").json} == {"sk_live_"}


def test_imported_keys_have_the_limits_that_are_given_unless_their_line_names_some(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {"sha256": sha256_of("sk_live_1"), "org": "acme", "prefix": "sk_live_"}
    own = {**plain, "sha256": sha256_of("sk_live_2"), "quotas": {"hour": 7}}
    given(monkeypatch, "\n".join(map(json.dumps, [plain, own])).encode())
    run("key", "import", "-", "--rate", "5", "--quota", "day=1000")
    limits = [(one["rate"], one["quotas"]) for one in run("key", "list", "--json").json]
    assert sorted(limits, key=str) == [(None, {"hour": 7}), ({"per_second": 5.0, "burst": 5}, {"day": 1000})]


def test_a_wrong_line_of_an_import_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b'{"sha256": "x"}\n' + b"y" * 1_000_000)
    ran = run("key", "import", str(tmp_path / "keys"))
    assert (ran.code, ran.out) == (1, "")
    assert "line 1: " in ran.err
    assert len(ran.err) < 10_000


def test_leaked_keys_of_ours_are_revoked_and_named_by_their_ids(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, kept = created(run), created(run)
    given(monkeypatch, f"\xff log: {ours['key']} {mint('live', lambda size: b'x' * size)}".encode("latin-1"))
    ran = run("key", "leaked", "-")
    assert (ran.code, ran.out) == (2, f"{ours['id']}\n")
    assert ours["key"] not in ran.err
    assert [one["id"] for one in run("key", "list", "--json").json] == [kept["id"]]


def test_what_was_revoked_before_the_store_went_away_is_said(
    run: Run, store: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = created(run), created(run)
    revoke = store.keys.revoke

    async def once(key_id: str) -> KeyRecord | None:
        if key_id == second["id"]:
            raise Unavailable("the store is away")
        return await revoke(key_id)

    monkeypatch.setattr(store.keys, "revoke", once)
    given(monkeypatch, f"{first['key']}\n{second['key']}\n".encode())
    ran = run("key", "leaked", "-")
    assert (ran.code, ran.out, ran.err) == (1, f"{first['id']}\n", "the store is away\n")


@pytest.mark.parametrize("text", [b"", b"nothing", mint("live", lambda size: b"x" * size).encode()])
def test_without_keys_of_ours_nothing_leaked(run: Run, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    given(monkeypatch, text)
    ran = run("key", "leaked", "-")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_what_leaked_is_said_as_json(run: Run, tmp_path: Path) -> None:
    made = created(run)
    (tmp_path / "log").write_text(made["key"])
    ran = run("key", "leaked", str(tmp_path / "log"), "--json")
    assert (ran.code, ran.json) == (2, [{"id": made["id"], "org": "acme", "revoked": True}])
