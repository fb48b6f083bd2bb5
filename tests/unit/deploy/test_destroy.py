from __future__ import annotations

import pytest

from apx.errors import Conflict
from stacks.deploy.approval import Approval
from stacks.environment import FOLDER, read_environment
from tests.unit.deploy.conftest import AFTER, Bench
from tests.unit.deploy.recorded import planned

DATABASE = "google_firestore_database.database-us-central1"
GONE = Approval(environment="dev", type_name=True, destroying=True)


@pytest.mark.parametrize("environment", ["prod", "staging"])
def test_what_is_protected_stays(bench: Bench, environment: str) -> None:
    bench.environment = read_environment(FOLDER / f"{environment}.yaml")
    with pytest.raises(Conflict, match=f"{environment} is not destroyed from here: it"):
        bench.session.destroy(GONE)
    assert bench.commands.ran == []


def test_everything_but_keys_goes_in_the_reverse_order(bench: Bench) -> None:
    every = {name: {DATABASE: ("delete",)} for name in (f"dev-{one}" for one in AFTER)}
    bench.commands.replies.update(planned(every))
    bench.person.answers = ["dev"] * 4
    assert bench.session.destroy(GONE)
    kept = ["dev-network", "dev-data", "dev-workloads-us-central1", "dev-edge"]
    assert bench.commands.stacks("terraform apply") == kept[::-1]
    assert "These stay, as keys can never be had back: dev-encryption, dev-identity" in bench.person.read
    assert all("-destroy" in text for text in bench.commands.texts("terraform plan"))


def test_without_the_name_typed_nothing_goes(bench: Bench) -> None:
    bench.commands.replies.update(planned({"dev-edge": {"google_x.a": ("delete",)}}))
    bench.person.answers = ["yes"]
    assert not bench.session.destroy(GONE)
    assert "Nothing was applied: 'yes' is not 'dev'." in bench.person.read
