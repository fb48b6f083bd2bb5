"""`apx policy`: run the policies' own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from apx.cli.output import AsJson, print_json
from apx.policy.opa import Opa
from apx.policy.test import run_tests

app = typer.Typer(help="Test policies.", no_args_is_help=True)


@app.command("test")
def run(
    gitops: Annotated[Path, typer.Option("--gitops", envvar="APX_GITOPS", help="The gitops tree.")] = Path("gitops"),
    package: Annotated[str | None, typer.Option(help="Only this Rego package.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the Rego tests beside the policies; exit 1 when one fails."""
    report = run_tests(Opa.find(), gitops / "policies", package)
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        for failure in report.failed:
            print(failure)
        print(f"{report.passed} passed, {len(report.failed)} failed, {report.coverage_percent:.1f} % of lines covered")
    if report.failed:
        raise typer.Exit(1)
