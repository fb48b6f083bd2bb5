"""`apx token`: tokens of those who operate, for the control API."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from apx import bootstrap
from apx.admission.operators import ROLES, Role
from apx.cli.output import AsJson, print_json
from apx.errors import Unsupported
from apx.settings import Settings

app = typer.Typer(help="Make tokens for the control API.", no_args_is_help=True)


@app.command()
def issue(
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}; each may what those before it may.")],
    subject: Annotated[str, typer.Option(help="Whose it is; stands in the history of what it changes.")],
    hours: Annotated[float, typer.Option(help="How long it is good for.")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Print a token, once; it is stored nowhere, and nothing but its end takes it back."""
    token = bootstrap.operators(Settings.load()).mint(subject, _role(role), hours=hours, random=os.urandom)
    print_json({"subject": subject, "role": role, "token": token}) if as_json else print(token)


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise Unsupported(f"{text[:40]!r} is no role: there are {', '.join(ROLES)}")
