"""A policy's own tests, run by `opa test`, with the lines that they reach."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from apx.errors import PolicyRejected
from apx.policy.compile import fingerprint
from apx.policy.opa import Completed, Opa
from apx.policy.sources import TEST_SUFFIX, closure, lay_out, package_of, scan
from apx.policy.storage import PrivateFolder


class FailedTest(msgspec.Struct, frozen=True, kw_only=True):
    """One test that did not pass."""

    name: str
    """`package.test_name`."""
    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.name}: {self.message}"


class UncoveredLine(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One line that no test reached."""

    file: str
    line: int


class PolicyTestReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the tests of a package, or of all of them, said. Coverage is of the modules that are no tests."""

    passed: int
    failed: tuple[FailedTest, ...]
    coverage_percent: float
    uncovered: tuple[UncoveredLine, ...]
    skipped: int = 0
    """Tests named `todo_…`."""

    @property
    def ok(self) -> bool:
        """Say whether there are tests and all of them passed."""
        return self.passed > 0 and not self.failed


def run_tests_cached(opa: Opa, policies_root: Path, package: str, cache_dir: Path) -> PolicyTestReport:
    """Run one package's tests, unless they passed before with the same sources and the same opa."""
    cache = PrivateFolder(cache_dir)
    name = f"{fingerprint(opa, closure(policies_root, package, tests=True))}.tests"
    held = cache.read(name)
    if held is not None:
        return msgspec.msgpack.decode(held, type=PolicyTestReport)
    report = run_tests(opa, policies_root, package)
    if report.ok:
        cache.write(name, msgspec.msgpack.encode(report))
    return report


def run_tests(opa: Opa, policies_root: Path, package: str | None = None) -> PolicyTestReport:
    """Run the tests of one package (`p` and `p_test`), or of all.

    Coverage counts the package's own modules by its own tests. Files are named as under `policies_root`, with that in
    front. Raises `PolicyRejected` when the modules do not compile.
    """
    if package is None:
        modules, documents = scan(policies_root, tests=True)
        own, pattern = modules, "."
    else:
        sources = closure(policies_root, package, tests=True)
        modules, documents = list(sources.modules), list(sources.documents)
        own, pattern = list(sources.own), rf"^data\.{re.escape(package)}(_test)?\."
    with tempfile.TemporaryDirectory(prefix="apx-policy-") as temporary:
        folder = Path(temporary)
        lay_out(folder, [*modules, *documents])
        results = _results(
            opa.run(["test", "-b", ".", "--format", "json", "--run", pattern], cwd=folder), policies_root
        )
        measured = opa.run(["test", "-b", ".", "--coverage", "--format", "json", "--run", pattern], cwd=folder)
    names = {source.name for source in own if not source.name.endswith(TEST_SUFFIX)}
    percent, uncovered = _coverage(measured.stdout, names, policies_root)
    return PolicyTestReport(
        passed=sum(1 for result in results if result.passed),
        failed=tuple(_failure(result, policies_root) for result in results if result.fail or result.error),
        skipped=sum(1 for result in results if result.skip),
        coverage_percent=percent,
        uncovered=tuple(uncovered),
    )


def packages(policies_root: Path) -> list[str]:
    """List every package that has a module which is not a test, sorted. Raises `PolicyRejected`."""
    modules, _ = scan(policies_root)
    return sorted({".".join(package_of(source)) for source in modules})


class _Place(msgspec.Struct):
    file: str = ""
    row: int = 0


class _Result(msgspec.Struct):
    package: str
    name: str
    location: _Place = msgspec.field(default_factory=_Place)
    fail: bool = False
    skip: bool = False
    error: dict[str, Any] | None = None
    output: str = ""

    @property
    def passed(self) -> bool:
        return not (self.fail or self.skip or self.error)


def _results(completed: Completed, root: Path) -> list[_Result]:
    if not completed.stdout.strip():
        if not completed.stderr.strip():
            return []
        raise PolicyRejected(f"{root}: {completed.stderr.strip()}")
    try:
        return msgspec.json.decode(completed.stdout, type=list[_Result])
    except msgspec.DecodeError as error:
        raise PolicyRejected(f"{root}: opa test: {completed.stderr.strip() or error}") from error


def _failure(result: _Result, root: Path) -> FailedTest:
    said = base64.b64decode(result.output).decode(errors="replace").strip()
    message = str((result.error or {}).get("message", "an expression of the test is false or undefined"))
    return FailedTest(
        name=f"{result.package.removeprefix('data.')}.{result.name}",
        file=f"{root}/{result.location.file}",
        line=result.location.row,
        message=f"{message}; it printed: {said}" if said else message,
    )


class _Range(msgspec.Struct):
    start: _Place
    end: _Place


class _FileCoverage(msgspec.Struct):
    covered: list[_Range] = []
    not_covered: list[_Range] = []


class _Coverage(msgspec.Struct):
    files: dict[str, _FileCoverage] = {}


def _coverage(output: bytes, names: set[str], root: Path) -> tuple[float, list[UncoveredLine]]:
    """Count lines; one that holds both a reached and an unreached expression is not covered."""
    try:
        files = msgspec.json.decode(output, type=_Coverage).files
    except msgspec.DecodeError:  # opa test prints results in place of coverage when a test fails
        return 0.0, []
    lines = 0
    uncovered = []
    for name in sorted(names & files.keys()):
        missed = _rows(files[name].not_covered)
        lines += len(_rows(files[name].covered) | missed)
        uncovered += [UncoveredLine(file=f"{root}/{name}", line=row) for row in sorted(missed)]
    return (100.0 if lines == 0 else round(100.0 * (1 - len(uncovered) / lines), 2)), uncovered


def _rows(ranges: list[_Range]) -> set[int]:
    return {row for span in ranges for row in range(span.start.row, span.end.row + 1)}
