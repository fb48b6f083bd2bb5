from __future__ import annotations

from stacks.deploy.commands import Done
from stacks.deploy.diff import Difference
from tests.unit.deploy.conftest import Bench
from tests.unit.deploy.recorded import DIGEST, Ran, fails, plan_of, planned, says

CREATE = {"google_x.a": ("create",)}
IMAGE = {"spec": [{"template": [{"spec": [{"container": [{"image": DIGEST}]}]}]}]}
RUNS = {"values": {"root_module": {"resources": [{"type": "kubernetes_deployment_v1", "values": IMAGE}]}}}


def diff(bench: Bench, *, drift: bool = False) -> Difference:
    return bench.session.diff(image="", drift=drift)


def test_no_difference_exits_0(bench: Bench) -> None:
    assert diff(bench).exit_code == 0


def test_a_difference_exits_2_and_is_told_as_markdown(bench: Bench) -> None:
    bench.commands.replies.update(planned({"dev-data": CREATE}))
    found = diff(bench)
    assert found.exit_code == 2
    said = found.markdown("dev")
    assert said.startswith("## Changes of `dev`\n\n```\ndev-data: 1 to add\n  + google_x.a\n    plan sha256:")
    assert said.endswith("Unchanged: dev-identity, dev-network, dev-encryption, dev-workloads-us-central1, dev-edge\n")


def test_a_stack_that_cannot_be_planned_exits_1_and_the_others_are_told(bench: Bench) -> None:
    bench.commands.replies.update(planned({"dev-edge": CREATE}))
    bench.commands.replies["terraform plan"] = lambda ran: (
        fails("Error: Error 403: denied") if ran.stack == "dev-network" else Done(2 if ran.stack == "dev-edge" else 0)
    )
    found = diff(bench)
    assert found.exit_code == 1
    assert "dev-network: Error: Error 403: denied" in str(found)
    assert "dev-edge: 1 to add" in str(found)


def test_a_stack_that_cannot_be_prepared_is_told_like_one_that_cannot_be_planned(bench: Bench) -> None:
    bench.commands.replies["terraform init"] = lambda ran: (
        fails("Error: no state") if ran.stack == "dev-workloads-us-central1" else Done(0)
    )
    found = diff(bench)
    assert found.exit_code == 1
    assert "dev-workloads-us-central1: Error: no state" in str(found)


def test_each_stack_is_prepared_once(bench: Bench) -> None:
    diff(bench)
    prepared = bench.commands.stacks("terraform init")
    assert sorted(prepared) == sorted(set(prepared))


def test_what_stands_on_nothing_yet_waits_and_is_not_planned(bench: Bench) -> None:
    def shown(ran: Ran) -> Done:
        return plan_of(CREATE, state=False) if ran.stack == "dev-encryption" else plan_of({})

    bench.commands.replies["terraform plan"] = lambda ran: Done(2 if ran.stack == "dev-encryption" else 0)
    bench.commands.replies["terraform show"] = shown
    found = diff(bench)
    assert found.waiting == {
        "dev-data": "dev-encryption",
        "dev-workloads-us-central1": "dev-data",
        "dev-edge": "dev-workloads-us-central1",
    }
    assert found.exit_code == 2
    assert "dev-data" not in bench.commands.stacks("terraform plan")


def test_nothing_is_locked_written_or_asked(bench: Bench) -> None:
    bench.commands.replies.update(planned({"dev-data": CREATE}))
    diff(bench)
    assert all("-lock=false" in text for text in bench.commands.texts("terraform plan"))
    assert not bench.commands.texts("terraform apply")
    assert bench.person.asked == []


def test_without_an_image_the_one_that_runs_is_compared(bench: Bench) -> None:
    bench.commands.replies["terraform show -json"] = lambda ran: (
        says(RUNS) if ran.text == "terraform show -json" else plan_of({})
    )
    diff(bench)
    assert {
        ran.env["TF_VAR_image"] for ran in bench.commands.ran if "plan" in ran.argv and ran.env.get("TF_VAR_image")
    } == {DIGEST}


def test_drift_is_what_others_did(bench: Bench) -> None:
    moved = {
        "address": "google_x.a",
        "type": "google_x",
        "change": {"actions": ["update"], "before": {"labels": 1}, "after": {"labels": 2}},
    }
    bench.commands.replies["terraform show"] = lambda ran: plan_of(
        {}, resource_drift=[moved] if ran.stack == "dev-data" else []
    )
    found = diff(bench, drift=True)
    assert found.exit_code == 2
    assert "dev-data: 1 changed by others\n  ~ google_x.a  (labels)" in str(found)
    assert found.markdown("dev").startswith("## Drift of `dev`")
    assert all("-refresh-only" in text for text in bench.commands.texts("terraform plan"))


def test_no_drift_exits_0_even_where_something_is_to_be_deployed(bench: Bench) -> None:
    bench.commands.replies.update(planned({"dev-data": CREATE}))
    assert diff(bench, drift=True).exit_code == 0
