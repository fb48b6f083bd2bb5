"""What an environment's file may say, and what it is told when it says something else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from apx.errors import Misconfigured
from stacks.environment import FOLDER, SCHEMA, environments, read_environment, schema
from tests.stacks.plans import MORE_REGIONS, PYTHON, ROOT

PROD = (FOLDER / "prod.yaml").read_text()


def written(folder: Path, text: str, name: str = "prod") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_the_schema_that_editors_use_is_the_types() -> None:
    says = "write it with: .venv/bin/python -m stacks.environment > stacks/environments/schema.json"
    assert json.loads((FOLDER / SCHEMA).read_text()) == json.loads(json.dumps(schema())), says


@pytest.mark.parametrize("name", environments())
def test_the_environments_here_are_right(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    assert read_environment(path).name == name
    assert list(Draft202012Validator(schema()).iter_errors(yaml.safe_load(path.read_text()))) == []


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("name: prod", "name: production", "2:7: name: 'production' is not the file's: write 'prod'"),
        ("number: 0", "number: 16", "8:13: regions[0].number: Expected `int` <= 15"),
        ("residency: us", "residency: moon", "9:16: regions[0].residency: Invalid enum value 'moon'"),
        ("name: prod", "nmae: prod", "2:1: Object contains unknown field `nmae`"),
        ("least: 3, most: 60", "least: 61, most: 60", "workloads.edge.least: 61 is over most, 60"),
        ("domain: api.apx.example", "domain: https://x", "4:9: domain: Expected `str` matching regex"),
        ("name: prod", "name: prod\nname: prod", "3:1:"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, before: str, after: str, says: str) -> None:
    assert before in PROD
    path = written(tmp_path, PROD.replace(before, after, 1))
    with pytest.raises(Misconfigured) as raised:
        read_environment(path)
    assert f"{path}:" in str(raised.value)
    assert says in str(raised.value)


@pytest.mark.parametrize("field", ["name", "number"])
def test_two_regions_share_nothing(tmp_path: Path, field: str) -> None:
    lines, more = PROD.splitlines(), {**MORE_REGIONS[0], field: {"name": "us-central1", "number": 0}[field]}
    document = {**yaml.safe_load(PROD), "regions": [*yaml.safe_load(PROD)["regions"], more]}
    path = written(tmp_path, f"{lines[0]}\n{yaml.safe_dump(document)}")
    with pytest.raises(Misconfigured, match=rf"regions\[1\].{field}: .* is another region's"):
        read_environment(path)


def test_regions_have_no_address_in_common(tmp_path: Path) -> None:
    more = [{"name": f"us-west{n}", "number": n, "residency": "us"} for n in range(1, 16)]
    document = {**yaml.safe_load(PROD), "regions": [*yaml.safe_load(PROD)["regions"], *more]}
    path = written(tmp_path, f"{PROD.splitlines()[0]}\n{yaml.safe_dump(document)}")
    networks = [net for r in read_environment(path).regions for net in (r.nodes, r.services, r.pods)]
    assert not [(a, b) for i, a in enumerate(networks) for b in networks[:i] if a.overlaps(b)]


def test_an_environment_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    written(tmp_path, PROD)
    with pytest.raises(Misconfigured, match=r"nothing.yaml: No such file.*: the environments here are: prod"):
        read_environment(tmp_path / "nothing.yaml")


def test_a_mistake_ends_the_synthesis_with_one_readable_message() -> None:
    command = [str(PYTHON), "-m", "stacks", "--environment", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("the environments here are: dev, prod, staging")


def test_the_providers_are_imported_a_module_at_a_time() -> None:
    program = "import stacks.app, sys; print(sum(name.startswith('cdktf_cdktf_provider_') for name in sys.modules))"
    done = subprocess.run([str(PYTHON), "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 50 < int(done.stdout) < 300
