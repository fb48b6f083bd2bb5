"""`apx`: operates the product. Exit codes: 0 done, 1 error, 2 wrong usage or a difference, 130 interrupted."""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec
import typer

from apx import bootstrap
from apx.cli import key, policy, release, requests, token
from apx.cli.output import AsJson, print_json, print_table
from apx.cli.validate import validate
from apx.errors import ApxError
from apx.release.digest import short
from apx.rollout.active import Snapshot
from apx.settings import Settings

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help="APX: governed API products."
)
app.command()(validate)
app.add_typer(policy.app, name="policy")
app.add_typer(release.app, name="release")
app.add_typer(key.app, name="key")
app.add_typer(token.app, name="token")
app.add_typer(requests.app, name="requests")
app.add_typer(requests.dlq, name="dlq")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show which release of each product serves."""
    snapshot = asyncio.run(_snapshot())
    if as_json:
        return print_json(msgspec.to_builtins(snapshot))
    rows = [(a.product, short(a.stable), a.revision, short(a.previous or "")) for a in snapshot.products.values()]
    return print_table(["PRODUCT", "RELEASE", "REVISION", "BEFORE"], sorted(rows))


def main() -> None:
    """Run the CLI: an error of ours is its message on stderr, never a traceback."""
    try:
        app()
    except ApxError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; the flush at exit must not fail
        sys.exit(1)
    except OSError as error:  # a full or read-only disk
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


async def _snapshot() -> Snapshot:
    async with bootstrap.backends(Settings.load()) as backends:
        return await backends.rollouts.read()


if __name__ == "__main__":
    main()
