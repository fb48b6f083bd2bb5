"""`apx webhook`, on adapters in process."""

from __future__ import annotations

import asyncio

import pytest

from apx.bootstrap import Backends
from tests.unit.cli.ran import Run

URL = "https://hooks.example/x"


@pytest.fixture
def made(run: Run, store: Backends) -> str:  # noqa: ARG001 -- used by the CLI
    assert run("key", "create", "--org", "acme").code == 0
    created = run("webhook", "create", "--org", "acme", "--url", URL, "--json").json
    assert created["secret"].startswith("whsec_")
    return str(created["id"])


def test_a_secret_alone_is_on_stdout_and_the_id_beside_it(run: Run, store: Backends) -> None:  # noqa: ARG001 -- as above
    run("key", "create", "--org", "acme")
    created = run("webhook", "create", "--org", "acme", "--url", URL, "--event", "request.failed", "--ordered")
    assert created.out.startswith("whsec_")
    assert created.out.count("\n") == 1
    assert created.err.startswith("wh_")
    (listed,) = run("webhook", "list", "--org", "acme", "--json").json
    assert (listed["url"], listed["events"], listed["ordered"]) == (URL, ["request.failed"], True)
    assert created.out.strip() not in run("webhook", "show", listed["id"]).out


@pytest.mark.parametrize("url", ["https://169.254.169.254/x", "http://hooks.example/x", "http://127.0.0.1:9100/x"])
def test_an_address_off_the_public_internet_is_refused_with_a_reason(run: Run, made: str, url: str) -> None:
    refused = run("webhook", "create", "--org", "acme", "--url", url)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("url: ")
    assert [one["id"] for one in run("webhook", "list", "--json").json] == [made]


def test_this_machines_own_address_is_taken_where_the_setting_says_so(
    run: Run, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APX_WEBHOOK_LOOPBACK", "true")
    assert run("webhook", "create", "--org", "acme", "--url", "http://127.0.0.1:9100/x").code == 0
    assert made


def test_its_life_is_told_in_words(run: Run, store: Backends, made: str) -> None:
    assert run("webhook", "disable", made, "--why", "broken").out == f"{made} of acme is disabled: broken\n"
    assert run("webhook", "ping", made).code == 1
    assert run("webhook", "enable", made).out == f"{made} of acme is enabled\n"
    assert run("webhook", "ping", made).out.startswith("msg_")
    rotated = run("webhook", "rotate", made, "--grace", "1h")
    assert rotated.out.startswith("whsec_")
    assert "signs too until" in rotated.err
    assert run("webhook", "replay", made).out == "0 deliveries are queued again\n"
    assert run("webhook", "replay", made, "--since", "2026-11-25", "--json").json == {"queued": 0}
    assert run("webhook", "delete", made).out == f"{made} of acme is deleted\n"
    assert run("webhook", "show", made).code == 1
    actions = [one.action for one in asyncio.run(store.audit.read())]
    assert actions == [
        "key-create",
        "webhook-create",
        "webhook-disable",
        "webhook-enable",
        "webhook-rotate",
        "webhook-replay",
        "webhook-replay",
        "webhook-delete",
    ]


def test_it_is_changed_by_what_is_named(run: Run, made: str) -> None:
    run("webhook", "change", made, "--event", "request.failed", "--product", "orders", "--product", "exports")
    changed = run("webhook", "change", made, "--url", "https://other.example/y", "--all-products", "--json").json
    assert (changed["url"], changed["events"], changed["products"]) == (
        "https://other.example/y",
        ["request.failed"],
        [],
    )
    assert "other.example/y" in run("webhook", "change", made, "--all-events").out
    assert run("webhook", "show", made, "--json").json["events"] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "nothing to change: name a url, events or products"),
        (["--event", "request.failed", "--all-events"], "--event and --all-events: take one of them"),
        (["--url", "http://hooks.example/x"], "url: deliveries go over TLS"),
    ],
)
def test_a_change_that_cannot_be_says_why(run: Run, made: str, options: list[str], says: str) -> None:
    refused = run("webhook", "change", made, *options)
    assert (refused.code, refused.out) == (1, "")
    assert says in refused.err


def test_a_moment_that_is_none_is_refused(run: Run, made: str) -> None:
    refused = run("webhook", "replay", made, "--since", "yesterday")
    assert (refused.code, "since: 'yesterday'" in refused.err) == (1, True)
