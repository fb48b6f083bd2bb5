"""A deployment from its plans to the last word, with a Terraform that answers as the test says."""

from __future__ import annotations

import re

import pytest

from apx.errors import Misconfigured
from stacks.deploy.approval import Approval
from stacks.deploy.commands import INTERRUPTED, Done
from stacks.deploy.person import Terminal
from tests.unit.deploy.conftest import Bench
from tests.unit.deploy.recorded import DIGEST, Ran, Typist, fails, plan_of, planned, says

DATABASE = "google_firestore_database.database-us-central1"
CREATE = {"google_x.a": ("create",)}
ORDER = ["dev-identity", "dev-network", "dev-encryption", "dev-data", "dev-workloads-us-central1", "dev-edge"]
LOCKED = """
Error: Error acquiring the state lock

Error message: writing "gs://b/apx/dev/data/default.tflock" failed: googleapi: Error 412: conditionNotMet
Lock Info:
  ID:        1787242876096737
  Path:      gs://b/apx/dev/data/default.tflock
  Operation: OperationTypeApply
  Who:       eve@laptop
  Version:   1.11.4
  Created:   2026-11-25 10:00:00 +0000 UTC
  Info:
"""


def deploy(bench: Bench, *, approve: tuple[str, ...] = (), destroys: tuple[str, ...] = (), first: bool = False) -> bool:
    given = Approval(environment="dev", plans=frozenset(approve), destroys=frozenset(destroys))
    return bench.session.deploy(given, image=DIGEST, build=False, base=False, first=first)


def test_every_stack_is_planned_asked_for_and_applied_before_what_stands_on_it(bench: Bench) -> None:
    bench.commands.replies.update(planned(dict.fromkeys(ORDER, CREATE)))
    bench.person.answers = ["yes"] * 5
    assert deploy(bench)
    applied = bench.commands.stacks("terraform apply")
    assert sorted(applied[:2]) == ORDER[:2]
    assert applied[2:] == ORDER[2:]
    assert bench.person.read.count("1 to add") == 6


def test_the_image_is_told_to_the_workloads_alone(bench: Bench) -> None:
    assert deploy(bench)
    told = {ran.stack: ran.env.get("TF_VAR_image") for ran in bench.commands.ran if "plan" in ran.argv}
    assert told.pop("dev-workloads-us-central1") == DIGEST
    assert set(told.values()) == {None}


def test_only_the_plan_that_was_shown_is_applied(bench: Bench) -> None:
    bench.commands.replies.update(planned({"dev-data": CREATE}))
    bench.person.answers = ["yes"]
    assert deploy(bench)
    (saved,) = (ran.argv[-1] for ran in bench.commands.ran if ran.text.startswith("terraform apply"))
    assert [ran.text for ran in bench.commands.ran if f"-out={saved}" in ran.argv]


def test_without_changes_nothing_is_asked_and_nothing_applied(bench: Bench) -> None:
    assert deploy(bench)
    assert bench.person.asked == []
    assert bench.commands.texts("terraform apply") == []


@pytest.mark.parametrize("answer", ["no", "", "YES", "y"])
def test_anything_but_yes_applies_nothing(bench: Bench, answer: str) -> None:
    bench.commands.replies.update(planned({"dev-identity": CREATE}))
    bench.person.answers = [answer]
    assert not deploy(bench)
    assert bench.commands.texts("terraform apply") == []
    assert f"Nothing was applied: {answer!r} is not 'yes'." in bench.person.read


def test_the_first_failure_ends_it_and_says_how_far_it_came(bench: Bench) -> None:
    bench.commands.replies.update(planned(dict.fromkeys(ORDER, CREATE)))
    bench.commands.replies["terraform apply"] = lambda ran: (
        fails("Error: Quota 'CPUS' exceeded. Limit: 8.0\n") if ran.stack == "dev-encryption" else Done(0)
    )
    bench.person.answers = ["yes"] * 5
    assert not deploy(bench)
    assert bench.person.read.endswith(
        "failed: dev-encryption\n"
        "not reached: dev-data, dev-workloads-us-central1, dev-edge\n"
        "The same command goes on from here: what is applied already is left as it is."
    )
    assert (
        "dev-encryption: Error: Quota 'CPUS' exceeded. Limit: 8.0\n"
        "  → ask for more on the project's page of quotas, then run it again\n"
        "applied: dev-"
    ) in bench.person.read
    assert "dev-data" not in bench.commands.stacks("terraform plan")


def test_a_failure_waits_for_its_neighbours(bench: Bench) -> None:
    bench.commands.replies.update(planned(dict.fromkeys(ORDER, CREATE)))
    bench.commands.replies["terraform apply"] = lambda ran: Done(1 if ran.stack == "dev-identity" else 0)
    bench.person.answers = ["yes"]
    assert not deploy(bench)
    assert "applied: dev-network\nfailed: dev-identity" in bench.person.read


def test_a_lock_names_its_holder_and_is_not_broken(bench: Bench) -> None:
    bench.commands.replies["terraform plan"] = lambda ran: fails(LOCKED) if ran.stack == "dev-data" else Done(0)
    assert not deploy(bench)
    assert re.search(
        r"dev-data: locked by eve@laptop \(OperationTypeApply, since 2026-11-25 10:00:00 \+0000 UTC\): wait for them\. "
        r"Only when that process is gone for sure: `cd \S+/dev-data && terraform force-unlock 1787242876096737`",
        bench.person.read,
    )
    assert not [text for text in bench.commands.texts("terraform") if "force-unlock" in text]


def test_a_lock_that_a_failure_leaves_is_told(bench: Bench) -> None:
    begun: list[Ran] = []

    def lose(ran: Ran) -> Done:
        begun.append(ran)
        return fails("Error: connection lost")

    bench.commands.replies.update(planned({"dev-data": CREATE}))
    bench.commands.replies["terraform apply"] = lose
    lock = says([{"name": "apx/dev/data/default.tflock", "generation": "42"}])
    where = "gcloud storage objects list gs://apx-dev-000000-tfstate/apx/dev/**/default.tflock"
    bench.commands.replies[where] = lambda _: lock if begun else says([])
    bench.commands.replies["gcloud storage cat"] = says({"Who": "me@here"})
    bench.person.answers = ["yes"]
    assert not deploy(bench)
    assert "dev-data: Error: connection lost\ndev-data: locked by me@here" in bench.person.read
    assert "terraform force-unlock 42" in bench.person.read


def test_a_state_that_could_not_be_stored_is_told_with_the_way_to_store_it(bench: Bench) -> None:
    bench.commands.replies.update(planned({"dev-data": CREATE}))

    def lose(ran: Ran) -> Done:
        assert ran.cwd is not None
        (ran.cwd / "errored.tfstate").write_text("{}")
        return fails("Error: Failed to save state")

    bench.commands.replies["terraform apply"] = lose
    bench.person.answers = ["yes"]
    assert not deploy(bench)
    assert "terraform state push errored.tfstate` before anything else" in bench.person.read


class TestWhatKeepsData:
    @pytest.fixture(autouse=True)
    def replaced(self, bench: Bench) -> None:
        bench.commands.replies.update(planned({"dev-data": {DATABASE: ("delete", "create")}}))

    def test_has_to_be_named_even_by_who_says_yes_to_all(self, bench: Bench) -> None:
        bench.person.answers = ["yes", "dev"]
        assert not deploy(bench)
        assert bench.person.asked == []
        assert (
            "Nothing was applied: this would lose what is kept. If that is meant, name each of them:\n"
            f"  --destroys dev-data.{DATABASE}   loses keys, rollouts, results and the audit of the region"
        ) in bench.person.read

    def test_goes_when_it_is_named_and_the_environment_is_typed(self, bench: Bench) -> None:
        bench.person.answers = ["dev"]
        assert deploy(bench, destroys=(f"dev-data.{DATABASE}",))
        assert bench.commands.stacks("terraform apply") == ["dev-data"]

    @pytest.mark.parametrize("typed", ["yes", "prod", "de", ""])
    def test_stays_when_another_name_is_typed(self, bench: Bench, typed: str) -> None:
        bench.person.answers = [typed]
        assert not deploy(bench, destroys=(f"dev-data.{DATABASE}",))
        assert bench.commands.texts("terraform apply") == []
        assert f"Nothing was applied: {typed!r} is not 'dev'." in bench.person.read

    def test_stays_when_something_else_was_named(self, bench: Bench) -> None:
        bench.person.answers = ["dev"]
        assert not deploy(bench, destroys=("dev-data.google_storage_bucket.b",))

    def test_goes_in_a_workflow_by_its_name_and_the_digest(self, bench: Bench) -> None:
        assert not deploy(bench, destroys=(f"dev-data.{DATABASE}",))
        (digest,) = re.findall(r"--approve (sha256:\w+)", bench.person.read)
        assert deploy(bench, approve=(digest,), destroys=(f"dev-data.{DATABASE}",))


class TestWithoutATerminal:
    def test_nothing_hangs_and_the_way_on_is_told(self, bench: Bench) -> None:
        bench.commands.replies.update(planned({"dev-network": CREATE}))
        assert not deploy(bench)
        assert re.search(
            "Nothing was applied: there is nobody to ask here. Whoever has looked at it goes on with --approve sha256:",
            bench.person.read,
        )

    def test_a_plan_that_was_approved_goes_on(self, bench: Bench) -> None:
        bench.commands.replies.update(planned({"dev-network": CREATE}))
        deploy(bench)
        (digest,) = re.findall(r"--approve (sha256:\w+)", bench.person.read)
        assert deploy(bench, approve=(digest,))
        assert bench.commands.stacks("terraform apply") == ["dev-network"]

    def test_a_plan_that_is_not_the_approved_one_does_not(self, bench: Bench) -> None:
        bench.commands.replies.update(planned({"dev-network": CREATE}))
        deploy(bench)
        (digest,) = re.findall(r"--approve (sha256:\w+)", bench.person.read)
        bench.commands.replies["terraform show"] = plan_of({"google_x.another": ("create",)})
        assert not deploy(bench, approve=(digest,))
        assert bench.commands.texts("terraform apply") == []

    @pytest.mark.parametrize("ci", ["true", "false"])
    def test_a_pipe_and_ci_are_nobody(self, monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
        monkeypatch.setenv("CI", ci)
        monkeypatch.setattr("sys.stdin.isatty", lambda: ci == "true", raising=False)
        monkeypatch.setattr("builtins.input", lambda _: pytest.fail("it would have hung"))
        assert Terminal().ask("Well?") is None


def test_an_interrupt_while_somebody_is_asked_says_how_far_it_came(bench: Bench) -> None:
    class Impatient(Typist):
        def ask(self, question: str) -> str | None:
            if "Type yes" in question and self.asked:
                raise KeyboardInterrupt
            return super().ask(question)

    bench.commands.replies.update(planned({"dev-network": CREATE, "dev-data": CREATE}))
    bench.person = Impatient("yes")
    assert not deploy(bench)
    assert "Interrupted.\napplied: dev-network\n" in bench.person.read


def test_after_an_interrupt_it_is_told_where_a_lock_would_be_seen(bench: Bench) -> None:
    bench.commands.replies.update(planned({"dev-network": CREATE}))
    not_started = fails("gcloud: not started after an interrupt", INTERRUPTED)
    where = "gcloud storage objects list gs://apx-dev-000000-tfstate/apx/dev/**/default.tflock"

    def halt(_: Ran) -> Done:
        bench.commands.replies[where] = not_started
        return fails("Error: execution halted")

    bench.commands.replies["terraform apply"] = halt
    bench.person.answers = ["yes"]
    assert not deploy(bench)
    assert "Whether a lock is left, `./dev deploy dev --check` says." in bench.person.read


def test_what_an_interrupt_kept_from_beginning_is_no_error(bench: Bench) -> None:
    bench.commands.replies["terraform init"] = fails("terraform: not started after an interrupt", INTERRUPTED)
    assert not deploy(bench)
    assert "dev-identity: not begun, after an interrupt" in bench.person.read


@pytest.mark.parametrize("image", ["apx", "reg/apx:latest", "reg/apx@sha256:abc", f"reg/apx:1@sha256:{'a' * 64}"])
def test_an_image_without_its_digest_is_refused_before_anything_runs(bench: Bench, image: str) -> None:
    given = Approval(environment="dev")
    with pytest.raises(Misconfigured, match="name the image by its digest"):
        bench.session.deploy(given, image=image, build=False, base=False, first=False)
    assert bench.commands.ran == []


def test_workloads_need_an_image(bench: Bench) -> None:
    with pytest.raises(Misconfigured, match=r"--image REPOSITORY@sha256:…, --build .*, or --base to stop before them"):
        bench.session.deploy(Approval(environment="dev"), image="", build=False, base=False, first=False)


def test_the_base_stops_before_what_needs_an_image(bench: Bench) -> None:
    assert bench.session.deploy(Approval(environment="dev"), image="", build=False, base=True, first=False)
    assert sorted(set(bench.commands.stacks("terraform plan"))) == sorted(ORDER[:4])


def test_what_is_wrong_keeps_anything_from_being_planned(bench: Bench) -> None:
    bench.commands.replies["kubectl"] = Done(127)
    with pytest.raises(Misconfigured, match="kubectl is not here"):
        deploy(bench)
    assert bench.commands.texts("terraform init") == []


def test_stacks_that_cannot_be_synthesised_are_told(bench: Bench) -> None:
    bench.commands.replies[""] = lambda ran: fails("boom: no such region") if "stacks" in ran.argv else Done(0)
    with pytest.raises(Misconfigured, match="The stacks of dev could not be synthesised: boom: no such region"):
        deploy(bench)
