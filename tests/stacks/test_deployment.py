"""What `stacks.deploy` takes for granted of the stacks as they are synthesised."""

from __future__ import annotations

from collections.abc import Callable

from stacks.deploy.order import needed_by, read_stacks, waves
from stacks.deploy.plan import KEEPS
from stacks.deploy.state import prefix
from tests.stacks.plans import Plan


def order(plan: Plan) -> list[set[str]]:
    return [{stack.short for stack in wave} for wave in waves(read_stacks(plan.folder, plan.environment))]


def test_pods_come_after_what_they_use_by_name_and_the_way_in_after_the_pods(plan: Plan) -> None:
    at = {name: number for number, wave in enumerate(order(plan)) for name in wave}
    for pods in (name for name in at if name.startswith("workloads-")):
        assert at[pods] > max(at[name] for name in ("artifacts", "data", "messaging", "provenance"))
        assert at[pods] < at["edge"]
    assert order(plan)[-1] == {"observability"}


def test_regions_go_side_by_side(plan: Plan) -> None:
    for kind in ("cluster-", "workloads-"):
        assert sum(any(name.startswith(kind) for name in wave) for wave in order(plan)) == 1


def test_a_deployment_tells_every_variable_there_is(plan: Plan) -> None:
    for stack in read_stacks(plan.folder, plan.environment):
        assert set(stack.document.get("variable", ())) == ({"image"} if stack.needs_image else set())


def test_states_are_looked_for_where_terraform_keeps_them(plan: Plan) -> None:
    for stack in read_stacks(plan.folder, plan.environment):
        assert stack.document["terraform"]["backend"]["gcs"]["prefix"] == prefix(stack)


def test_what_terraform_refuses_to_destroy_is_a_loss(plan: Plan) -> None:
    kept = {one.type for one in plan.resources() if one.body.get("lifecycle", {}).get("prevent_destroy")}
    protected = {one.type for one in plan.resources() if one.body.get("deletion_protection")}
    assert kept | protected <= KEEPS.keys()


def test_only_keys_and_what_they_stand_on_outlive_a_destruction(planned: Callable[[str, int], Plan]) -> None:
    stacks = read_stacks(planned("dev", 1).folder, "dev")
    kept = needed_by(stacks, [stack for stack in stacks if stack.keeps])
    assert kept == {"dev-encryption", "dev-identity", "dev-provenance"}
