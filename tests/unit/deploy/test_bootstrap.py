from __future__ import annotations

import pytest

from apx.backends.gcp import names
from apx.errors import Conflict, Unavailable
from stacks.deploy.bootstrap import bootstrap
from stacks.deploy.order import Stack
from stacks.deploy.secret_versions import SECRET_BYTES, ensure_versions
from stacks.services import SERVICE_AGENTS
from tests.unit.deploy.conftest import Bench
from tests.unit.deploy.recorded import PROJECT, fails, says

CANARY = b"\x00canary-of-32-bytes-that-is-secret"[:SECRET_BYTES]
NO_BUCKET = {"gcloud storage buckets describe": fails("ERROR: 404")}


def test_a_project_is_prepared_after_a_typed_yes(bench: Bench, stacks: list[Stack]) -> None:
    bench.commands.replies.update(NO_BUCKET)
    bench.person.answers = ["yes"]
    bootstrap(bench.cloud, stacks, bench.person)
    (enabled,) = bench.commands.texts("gcloud services enable")
    assert "pubsub.googleapis.com" in enabled  # a stack's
    assert "compute.googleapis.com" in enabled  # needed before any
    assert len(bench.commands.texts(f"gcloud storage buckets create gs://{PROJECT}-tfstate")) == 1
    accounts = bench.commands.texts("gcloud beta services identity create")
    assert len(accounts) == len(SERVICE_AGENTS) - 1
    assert len(bench.commands.texts("bq show --encryption_service_account")) == 1


def test_the_commands_are_shown_before_anything_is_run(bench: Bench, stacks: list[Stack]) -> None:
    bench.commands.replies.update(NO_BUCKET)
    bench.person.answers = ["no"]
    with pytest.raises(Conflict, match="Nothing was run: 'no' is not 'yes'"):
        bootstrap(bench.cloud, stacks, bench.person)
    assert f"  gcloud storage buckets create gs://{PROJECT}-tfstate" in bench.person.read
    assert not bench.commands.texts("gcloud services enable")


def test_nobody_prepares_a_project_from_a_workflow(bench: Bench, stacks: list[Stack]) -> None:
    with pytest.raises(Conflict, match="there is nobody to ask here"):
        bootstrap(bench.cloud, stacks, bench.person)


def test_a_bucket_that_is_well_is_left_alone(bench: Bench, stacks: list[Stack]) -> None:
    bench.person.answers = ["yes"]
    bootstrap(bench.cloud, stacks, bench.person)
    assert not bench.commands.texts("gcloud storage buckets create")
    assert not bench.commands.texts("gcloud storage buckets update")


def test_the_first_command_that_fails_ends_it(bench: Bench, stacks: list[Stack]) -> None:
    bench.commands.replies["gcloud services enable"] = fails("ERROR: billing is off\n")
    bench.person.answers = ["yes"]
    with pytest.raises(Unavailable, match=r"failed: ERROR: billing is off\. It goes on from here when run again"):
        bootstrap(bench.cloud, stacks, bench.person)
    assert not bench.commands.texts("gcloud beta")


def test_an_account_that_cannot_be_asked_for_is_told_and_the_others_are_made(bench: Bench, stacks: list[Stack]) -> None:
    compute = "gcloud beta services identity create --service=compute.googleapis.com"
    bench.commands.replies[compute] = fails("ERROR: no identity for this service")
    bench.person.answers = ["yes"]
    bootstrap(bench.cloud, stacks, bench.person)
    assert f"failed, ERROR: no identity for this service: {compute}" in bench.person.read
    assert len(bench.commands.texts("gcloud beta services identity create")) == len(SERVICE_AGENTS) - 1


def test_nobody_who_is_not_signed_in_is_asked(bench: Bench, stacks: list[Stack]) -> None:
    bench.commands.replies["gcloud auth list"] = says([])
    with pytest.raises(Conflict, match="wrong: gcloud is not signed in"):
        bootstrap(bench.cloud, stacks, bench.person)
    assert bench.person.asked == []


class TestSecrets:
    @pytest.fixture(autouse=True)
    def empty(self, bench: Bench) -> None:
        bench.commands.replies["gcloud secrets versions list"] = says([])

    def test_get_32_bytes_each_on_standard_input_and_nowhere_else(self, bench: Bench) -> None:
        bench.person.answers = ["yes"]
        ensure_versions(bench.cloud, bench.person, make=True, draw=lambda size: CANARY[:size])
        added = [ran for ran in bench.commands.ran if ran.text.startswith("gcloud secrets versions add")]
        assert [ran.argv[4] for ran in added] == [names.secret(name) for name in names.SECRETS]
        assert {ran.secret for ran in added} == {CANARY}
        told = bench.person.read + "".join(bench.commands.texts()) + str([ran.env for ran in bench.commands.ran])
        assert "canary" not in told

    def test_are_drawn_anew_for_each(self, bench: Bench) -> None:
        bench.person.answers = ["yes"]
        ensure_versions(bench.cloud, bench.person, make=True)
        drawn = {ran.secret for ran in bench.commands.ran if ran.secret}
        assert len(drawn) == len(names.SECRETS)
        assert {len(secret or b"") for secret in drawn} == {SECRET_BYTES}

    def test_that_have_a_value_keep_it(self, bench: Bench) -> None:
        bench.commands.replies["gcloud secrets versions list"] = says([{"name": "1"}])
        ensure_versions(bench.cloud, bench.person, make=True)
        assert bench.person.asked == []

    def test_are_told_where_nobody_asked_to_make_them(self, bench: Bench) -> None:
        with pytest.raises(
            Conflict, match=r"apx-receipts, .* have no value. Run it with --bootstrap, or for each `head"
        ):
            ensure_versions(bench.cloud, bench.person, make=False)

    def test_without_a_yes_are_not_made(self, bench: Bench) -> None:
        with pytest.raises(Conflict, match="Nothing was made"):
            ensure_versions(bench.cloud, bench.person, make=True)
        assert not bench.commands.texts("gcloud secrets versions add")

    def test_that_cannot_be_looked_at_are_not_taken_for_empty(self, bench: Bench) -> None:
        bench.commands.replies["gcloud secrets versions list"] = fails("ERROR: PERMISSION_DENIED")
        bench.person.answers = ["yes"]
        with pytest.raises(Unavailable, match="PERMISSION_DENIED"):
            ensure_versions(bench.cloud, bench.person, make=True)
