"""The image's own steps, run without Docker: what it installs is enough, and no step needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from checks.dockerfiles import ROOT, Instruction, read

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
NOBODY = 65_534
PROCESSES = ("services.edge", "services.edge.envoy", "services.router.app", "services.worker", "services.monitor")


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The working folder of the build stage, after its last step."""
    folder = Path(mkdtemp(prefix="apx-image-"))
    try:
        folder.chmod(0o755)
        home = folder / "workdir"
        home.mkdir()
        _own(home)
        for step in _build_stage():
            _take(step, home)
        yield home
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("module", [*PROCESSES, "services.control.app"])
def test_every_process_can_be_imported_from_what_was_installed(image: Path, module: str) -> None:
    _run(["venv/bin/python", "-c", f"import {module}"], image)


def test_envoy_came_along_and_may_be_run(image: Path) -> None:
    found = (
        "from services.edge.settings import *; from services.edge.binary import *; print(find_envoy(EdgeSettings()))"
    )
    envoy = _run(["venv/bin/python", "-c", found], image, {"PATH": ""}).strip()
    assert Path(envoy).is_relative_to(image.resolve())
    assert "version: " in _run([envoy, "--version"], image)


def test_what_only_tests_need_is_not_there(image: Path) -> None:
    names = {path.name for path in (image / "venv").glob("lib/*/site-packages/*")}
    assert "fastapi" in names
    assert names.isdisjoint({"pytest", "mypy", "cdktf", "hypothesis"})


@pytest.mark.parametrize("package", ["apx", "services"])
def test_nothing_is_left_to_compile(image: Path, package: str) -> None:
    sources = list((image / package).rglob("*.py"))
    assert sources
    assert [path for path in sources if not [*path.parent.glob(f"__pycache__/{path.stem}.*.pyc")]] == []


def _build_stage() -> list[Instruction]:
    steps = read(ROOT / "services" / "Dockerfile")
    begin = next(at for at, step in enumerate(steps) if step.name == "FROM" and step.arguments.endswith(" AS build"))
    end = next(at for at, step in enumerate(steps) if step.name == "FROM" and at > begin)
    return steps[begin + 1 : end]


def _take(step: Instruction, home: Path) -> None:
    """Do what the builder would; another image's files come from this machine's PATH."""
    if step.name == "COPY" and "--from=" not in step.arguments:
        source, target = step.arguments.split()
        _copy(ROOT / source, home / target)
    elif step.name == "RUN":
        _run(["sh", "-euc", step.arguments], home, _variables())


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target = Path(shutil.copy(source, target))
    for path in (target, *target.rglob("*")):
        _own(path)


def _own(path: Path) -> None:
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def _variables() -> dict[str, str]:
    stated = " ".join(step.arguments for step in _build_stage() if step.name == "ENV").split()
    tools = f"{ROOT / '.tools' / 'uv' / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**dict(pair.split("=", 1) for pair in stated), "PATH": tools}


def _run(command: list[str], home: Path, more: dict[str, str] | None = None) -> str:
    """Run as nobody where this is root, in an environment that knows no other Python's packages."""
    if os.getuid() == 0:
        drop = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--inh-caps", "-all"]
        command = ["/usr/bin/setpriv", *drop, "--", *command]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APX_", "PYTHON", "VIRTUAL_ENV"))}
    environment = {**kept, "HOME": str(home), **(more or {})}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
