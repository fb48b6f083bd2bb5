"""`apx token`: tokens of those who operate, for the control API."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from apx import bootstrap
from apx.admission.operators import ROLES, Role, role_named
from apx.admission.orgs import known_org
from apx.audit.record import Recorder
from apx.cli.output import AsJson, print_json
from apx.settings import Settings

app = typer.Typer(help="Make tokens for the control API.", no_args_is_help=True)


@app.command()
def issue(
    subject: Annotated[str, typer.Option(help="Whose it is; stands in the history of what it changes.")],
    role: Annotated[
        str, typer.Option(help=f"One of {', '.join(ROLES)}; without it, what `apx org member` says of the subject.")
    ] = "",
    org: Annotated[str, typer.Option(help="The one org that the role is in; without it, the whole platform.")] = "",
    hours: Annotated[float, typer.Option(help="How long it is good for.")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Print a token, once; it is stored nowhere, and nothing but its end takes back the role that it carries.

    One without a role may what its subject may as a member of orgs, as long as it is one. That a token was issued is
    recorded before it is shown.
    """
    token = asyncio.run(_issued(Settings.load(), subject, role_named(role) if role else None, org, hours))
    print_json({"subject": subject, "role": role, "org": org, "token": token}) if as_json else print(token)


async def _issued(settings: Settings, subject: str, role: Role | None, org: str, hours: float) -> str:
    token = bootstrap.operators(settings).mint(subject, role, org=org, hours=hours, random=os.urandom)
    async with bootstrap.backends(settings) as backends:
        if org:
            await known_org(backends.orgs, backends.keys, org)
        recorder = Recorder(backends.audit, bootstrap.person())
        async with recorder.recorded(
            "token-issue", f"token of {subject}", org=org, after=f"{role or 'member'} for {hours:g} h"
        ):
            return token
