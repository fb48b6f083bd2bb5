"""`apx org member` and the tokens of members."""

from __future__ import annotations

import asyncio

from apx import bootstrap
from apx.admission.operators import Operator
from apx.bootstrap import Backends
from apx.settings import Settings
from tests.unit.cli.ran import Run

ANN = "ann@acme.example"


def test_a_member_is_added_listed_and_removed(run: Run, store: Backends) -> None:
    run("key", "create", "--org", "acme")
    assert (
        run("org", "member", "add", "acme", "Ann@acme.example", "--role", "viewer").out == f"{ANN} is viewer of acme\n"
    )
    assert run("org", "member", "add", "acme", ANN, "--role", "admin", "--json").json["changed"] is True
    assert run("org", "member", "add", "acme", ANN, "--role", "admin").out == f"{ANN} is admin of acme as before\n"
    assert run("org", "member", "list", "acme", "--json").json == [{"org": "acme", "who": ANN, "role": "admin"}]
    assert run("org", "member", "list", "acme").out.split() == ["WHO", "ROLE", ANN, "admin"]
    assert run("org", "member", "remove", "acme", ANN).out == f"{ANN} is no member of acme any longer\n"
    assert run("org", "member", "list", "acme", "--json").json == []
    told = [(one.before, one.after) for one in asyncio.run(store.audit.read()) if one.action == "org-member"]
    assert told == [("none", "viewer"), ("viewer", "admin"), ("admin", "none")]


def test_what_cannot_be_a_member_is_said(run: Run, store: Backends) -> None:
    run("key", "create", "--org", "acme")
    for words, said in (
        (("add", "amce", ANN, "--role", "viewer"), "no org 'amce'"),
        (("add", "acme", ANN, "--role", "root"), "'root' is no role"),
        (("add", "acme", "a b", "--role", "viewer"), "nobody's name"),
        (("remove", "acme", ANN), "is no member of acme"),
        (("list", "amce"), "no org 'amce'"),
    ):
        ran = run("org", "member", *words)
        assert (ran.code, ran.out) == (1, "")
        assert said in ran.err
    assert [one.action for one in asyncio.run(store.audit.read())] == ["key-create"]


def test_a_token_is_issued_for_an_org_or_for_a_member(run: Run, store: Backends) -> None:
    run("key", "create", "--org", "acme")
    of_org = run("token", "issue", "--subject", "ci", "--role", "admin", "--org", "acme", "--json").json
    of_member = run("token", "issue", "--subject", ANN, "--json").json
    read = bootstrap.operators(Settings.load()).read
    assert read(of_org["token"]) == Operator("ci", None, {"acme": "admin"})
    assert read(of_member["token"]) == Operator(ANN, None, member=True)
    told = [(one.org, one.after) for one in asyncio.run(store.audit.read()) if one.action == "token-issue"]
    assert told == [("acme", "admin for 24 h"), ("", "member for 24 h")]


def test_no_token_is_issued_for_an_org_that_is_not_there_or_without_a_role_in_it(run: Run, store: Backends) -> None:
    run("key", "create", "--org", "acme")
    for words in (("--role", "admin", "--org", "amce"), ("--org", "acme")):
        ran = run("token", "issue", "--subject", "ci", *words)
        assert (ran.code, ran.out) == (1, "")
    assert [one.action for one in asyncio.run(store.audit.read())] == ["key-create"]
