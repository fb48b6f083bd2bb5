from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from apx.cli.validate import validate
from tests.unit.catalog.conftest import EXAMPLE

app = typer.Typer()
app.command()(validate)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_right_tree_is_counted() -> None:
    result = run(EXAMPLE)
    assert result.exit_code == 0
    assert result.stdout == f"{EXAMPLE}: 5 products, 3 plans, 3 orgs, no mistakes\n"


def test_each_mistake_is_a_line_and_the_last_line_counts(small: Path) -> None:
    (small / "plans" / "free.yaml").write_text("")
    result = run(small)
    assert result.exit_code == 1
    empty, modeline, summary = result.stdout.splitlines()
    assert empty.startswith("gitops/plans/free.yaml:1:1: the file says nothing")
    assert modeline.endswith("write # yaml-language-server: $schema=../schemas/plan.json [modeline-missing]")
    assert summary == f"{small}: 2 mistakes in 1 file"


def test_json_is_one_object_for_scripts(small: Path) -> None:
    (small / "plans" / "free.yaml").write_text("")
    result = run(small, "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["valid"] is False
    assert {mistake["code"] for mistake in answer["mistakes"]} == {"file-empty", "modeline-missing"}
    assert set(answer["mistakes"][0]) == {"file", "line", "column", "code", "message"}


def test_json_of_a_right_tree_counts_it() -> None:
    answer = json.loads(run(EXAMPLE, "--json").stdout)
    assert answer == {"valid": True, "products": 5, "plans": 3, "orgs": 3, "mistakes": []}


def test_a_terminal_that_knows_only_ascii_gets_escapes(small: Path) -> None:
    org = small / "orgs" / "acme.yaml"
    org.write_text(org.read_text().replace("region: us", "region: Köln"))
    result = CliRunner(charset="ascii").invoke(app, [str(small)])
    assert result.exit_code == 1
    assert "'K\\xf6ln' is not one of the choices" in result.stdout


def test_a_tree_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    result = run(tmp_path / "gitops")
    assert result.exit_code == 1
    assert "there is no folder 'gitops'" in result.stdout
