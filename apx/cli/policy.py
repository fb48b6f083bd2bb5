"""`apx policy`: run the policies' own tests; say what a change does before it is merged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from apx.cli import impact, impact_text
from apx.cli.impact_markdown import markdown
from apx.cli.output import AsJson, print_json
from apx.cli.versions import version
from apx.policy.opa import Opa
from apx.policy.test import run_tests
from apx.settings import Settings

app = typer.Typer(help="Test policies, and see what a change of them does.", no_args_is_help=True)

Tree = Annotated[Path, typer.Option("--gitops", envvar="APX_GITOPS", help="The gitops tree.")]
Products = Annotated[list[str] | None, typer.Option("--product", help="Only this product; may stand several times.")]
Files = Annotated[
    list[Path] | None,
    typer.Option("--sample", help="Recorded inputs, in place of this home's; may stand several times."),
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print a comment for a pull request.")]
_SIDE = (
    "A gitops folder, a release (its digest or the first digits), or a commit of the repository that holds --gitops."
)


@app.command("test")
def run(
    gitops: Tree = Path("gitops"),
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


@app.command()
def diff(
    base: Annotated[str, typer.Argument(help=_SIDE)],
    head: Annotated[str, typer.Argument(help="The same, after the change.")],
    *,
    gitops: Tree = Path("gitops"),
    product: Products = None,
    sample: Files = None,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Say what a change does: in words, and to recorded requests. Exit 2 when some are answered otherwise."""
    settings = Settings.load()
    with version(settings, base, gitops) as before, version(settings, head, gitops) as after:
        found = impact.diff(settings, before, after, product or [], sample or [])
    _show(found, as_markdown=as_markdown, as_json=as_json)


@app.command()
def replay(
    target: Annotated[str, typer.Argument(help=_SIDE)],
    *,
    gitops: Tree = Path("gitops"),
    product: Products = None,
    sample: Files = None,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Decide recorded requests again, beside what was decided then. Exit 2 when some are decided otherwise."""
    settings = Settings.load()
    with version(settings, target, gitops) as after:
        found = impact.against_record(settings, after, product or [], sample or [])
    _show(found, as_markdown=as_markdown, as_json=as_json)


def _show(found: impact.Impact, *, as_markdown: bool, as_json: bool) -> None:
    if as_json:
        print_json(impact.as_builtins(found))
    elif as_markdown:
        sys.stdout.write(markdown(found))
    else:
        impact_text.write(found)
    if found.flips:
        raise typer.Exit(2)
