"""`apx token`: tokens of those who operate, for the control API."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from apx import bootstrap
from apx.admission.operators import ROLES, Role
from apx.audit.record import Recorder
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
    """Print a token, once; it is stored nowhere, and nothing but its end takes it back.

    That it was issued is recorded before it is shown.
    """
    token = asyncio.run(_issued(Settings.load(), subject, _role(role), hours))
    print_json({"subject": subject, "role": role, "token": token}) if as_json else print(token)


async def _issued(settings: Settings, subject: str, role: Role, hours: float) -> str:
    token = bootstrap.operators(settings).mint(subject, role, hours=hours, random=os.urandom)
    async with bootstrap.backends(settings) as backends:
        recorder = Recorder(backends.audit, bootstrap.person())
        async with recorder.recorded("token-issue", f"token of {subject}", after=f"{role} for {hours:g} h"):
            return token


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise Unsupported(f"{text[:40]!r} is no role: there are {', '.join(ROLES)}")
