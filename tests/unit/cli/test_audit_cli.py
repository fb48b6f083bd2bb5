"""`apx audit`, `apx org`, and what the other commands write into the log."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from apx import bootstrap
from apx.admission.orgs import OrgTerms
from apx.audit.entry import Entry
from apx.bootstrap import Backends
from apx.catalog.model import Budget
from tests.unit.cli.ran import Run


def logged(store: Backends) -> list[Entry]:
    return asyncio.run(store.audit.read())


def test_keys_tokens_and_orgs_are_recorded_with_who_and_where(run: Run, store: Backends) -> None:
    key = json.loads(run("key", "create", "--org", "acme", "--note", "ci", "--json").out)
    assert run("org", "suspend", "acme", "--why", "unpaid").code == 0
    assert run("org", "resume", "acme", "--why", "paid").code == 0
    token = run("token", "issue", "--role", "viewer", "--subject", "ci").out.strip()
    assert run("key", "revoke", key["id"]).code == 0
    entries = logged(store)
    assert [one.action for one in entries] == [
        *("key-create", "org-suspend", "org-resume", "token-issue", "key-revoke")
    ]
    assert {(one.actor, one.source) for one in entries} == {(bootstrap.operator(), socket.gethostname())}
    assert entries[3].after == "viewer for 24 h"
    assert key["key"] not in repr(entries)
    assert token not in repr(entries)


def test_a_token_that_cannot_be_is_not_recorded(run: Run, store: Backends) -> None:
    assert run("token", "issue", "--role", "viewer", "--subject", "no such name").code == 1
    assert logged(store) == []


def test_an_org_is_shown_as_it_stands(run: Run, store: Backends) -> None:  # noqa: ARG001 -- used by the CLI
    run("key", "create", "--org", "acme")
    assert run("org", "show", "acme").out == "acme is active; keys: 1\n"
    run("org", "suspend", "acme", "--why", "unpaid")
    assert "acme is suspended since 20" in run("org", "show", "acme").out
    (listed,) = json.loads(run("org", "list", "--json").out)
    assert (listed["org"], listed["suspended"], listed["why"], listed["keys"]) == ("acme", True, "unpaid", 1)
    assert "unpaid" in run("org", "list").out
    again = run("org", "suspend", "acme", "--why", "again")
    assert (again.code, "suspended already" in again.err) == (1, True)


def test_an_org_that_is_not_there_is_said_not_to_be(run: Run, store: Backends) -> None:
    ran = run("org", "suspend", "amce", "--why", "unpaid")
    assert (ran.code, ran.err) == (1, "no org 'amce' has a key here; `apx org list` shows them\n")
    assert logged(store) == []


def test_the_log_is_listed_filtered_and_exported(run: Run, store: Backends) -> None:  # noqa: ARG001 -- as above
    run("key", "create", "--org", "acme")
    run("token", "issue", "--role", "viewer", "--subject", "ci")
    assert [one["action"] for one in json.loads(run("audit", "list", "--json").out)] == ["token-issue", "key-create"]
    assert [one["org"] for one in json.loads(run("audit", "list", "--org", "acme", "--json").out)] == ["acme"]
    assert json.loads(run("audit", "list", "--since", "2999-01-01", "--json").out) == []
    lines = run("audit", "export", "--since", "2020-01-01T08:00").out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 2]
    assert "token-issue" in run("audit", "list").out
    assert run("audit", "list", "--since", "yesterday").code == 1


def test_a_sound_log_is_verified_and_an_edited_one_is_found(run: Run, store: Backends, tmp_path: Path) -> None:
    run("key", "create", "--org", "acme")
    kept = tmp_path / "checkpoints"
    kept.write_text(run("audit", "checkpoint").out)
    ran = run("audit", "verify")
    assert (ran.code, ran.out) == (0, "the log is what was written: 1 entries, sealed up to 1\n")
    store.audit.__init__()  # type: ignore[misc]  # somebody empties the store, checkpoints and all
    assert run("audit", "verify").code == 0
    ran = run("audit", "verify", "--checkpoints", str(kept), "--json")
    assert (ran.code, ran.err) == (2, "")
    assert [one["kind"] for one in json.loads(ran.out)["findings"]] == ["cut-off"]


@pytest.mark.parametrize("text", ["x", '{"number": 1}'])
def test_what_is_no_checkpoint_is_refused(run: Run, store: Backends, tmp_path: Path, text: str) -> None:  # noqa: ARG001
    (tmp_path / "kept").write_text(text)
    ran = run("audit", "verify", "--checkpoints", str(tmp_path / "kept"))
    assert (ran.code, "not what `apx audit checkpoint` prints" in ran.err) == (1, True)


def test_the_orgs_of_a_tree_get_their_terms_once(run: Run, store: Backends) -> None:
    first = run("org", "apply")
    assert "globex: none -> {" in first.out
    assert "Europe/Berlin" in first.out
    assert run("org", "apply").out == "acme: as it was\nglobex: as it was\ninitech: as it was\n"
    assert [one["changed"] for one in json.loads(run("org", "apply", "--json").out)] == [False] * 3
    assert len(asyncio.run(store.audit.read())) == 3


def test_a_tree_with_mistakes_gives_no_org_its_terms(run: Run, store: Backends, tmp_path: Path) -> None:
    assert run("org", "apply", "--gitops", str(tmp_path / "none")).code == 1
    assert asyncio.run(store.orgs.list_orgs()) == []


def test_the_budgets_of_an_org_are_shown(run: Run, store: Backends) -> None:
    budget = Budget(name="daily", usd=10, per="day")
    asyncio.run(store.orgs.put_terms("acme", OrgTerms(budgets=(budget,))))
    assert run("org", "budget", "acme").out.splitlines()[1].split()[:4] == ["daily", "0.00", "10.00", "10.00"]
    [shown] = json.loads(run("org", "budget", "acme", "--json").out)
    assert (shown["budget"], shown["left_usd"]) == ("daily", 10.0)
    assert run("org", "budget", "amce").code == 1
