from __future__ import annotations

from pathlib import Path

import pytest

from apx.errors import Misconfigured
from stacks.deploy.order import Stack, needed_by, read_stacks, standing_on, waves


def stack(name: str, *after: str) -> Stack:
    return Stack(name, "dev", Path(name), after)


def names(found: list[list[Stack]]) -> list[list[str]]:
    return [[one.name for one in wave] for wave in found]


def test_a_stack_comes_after_all_that_it_stands_on(stacks: list[Stack]) -> None:
    assert names(waves(stacks)) == [
        ["dev-identity", "dev-network"],
        ["dev-encryption"],
        ["dev-data"],
        ["dev-workloads-us-central1"],
        ["dev-edge"],
    ]


def test_regions_go_side_by_side() -> None:
    regions = ("us-central1", "europe-west1")
    given = [stack("n"), *(stack(f"c-{r}", "n") for r in regions), *(stack(f"w-{r}", f"c-{r}") for r in regions)]
    assert names(waves(given)) == [
        ["n"],
        ["c-europe-west1", "c-us-central1"],
        ["w-europe-west1", "w-us-central1"],
    ]


def test_what_is_not_given_is_taken_to_be_there() -> None:
    assert names(waves([stack("b", "a")])) == [["b"]]


def test_a_circle_is_told() -> None:
    with pytest.raises(Misconfigured, match="stacks that wait for one another: "):
        waves([stack("a", "b"), stack("b", "a")])


def test_without_a_synthesis_the_message_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"No such file or directory: `\./dev synth --environment dev --out "):
        read_stacks(tmp_path, "dev")


def test_what_is_needed_by_keys_and_what_stands_on_an_image(stacks: list[Stack]) -> None:
    assert needed_by(stacks, [one for one in stacks if one.keeps]) == {"dev-encryption", "dev-identity"}
    late = standing_on(stacks, [one for one in stacks if one.needs_image])
    assert late == {"dev-workloads-us-central1", "dev-edge"}
