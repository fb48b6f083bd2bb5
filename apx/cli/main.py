"""`apx`: operates the product. Exit codes: 0 done, 1 error, 2 wrong usage or a difference, 130 interrupted."""

from __future__ import annotations

import os
import sys

import typer

from apx.cli import audit, cost, key, org, policy, product, release, requests, rollout, token, webhook
from apx.cli.output import write_anything
from apx.cli.status import status
from apx.cli.usage import usage
from apx.cli.validate import validate
from apx.errors import ApxError

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help="APX: governed API products."
)
app.command()(validate)
app.add_typer(policy.app, name="policy")
app.add_typer(product.app, name="product")
app.add_typer(release.app, name="release")
app.add_typer(rollout.app, name="rollout")
app.command()(rollout.rollback)
app.command()(status)
app.add_typer(cost.app, name="cost")
app.command()(usage)
app.add_typer(key.app, name="key")
app.add_typer(org.app, name="org")
app.add_typer(webhook.app, name="webhook")
app.add_typer(token.app, name="token")
app.add_typer(audit.app, name="audit")
app.add_typer(requests.app, name="requests")
app.add_typer(requests.dlq, name="dlq")


def main() -> None:
    """Run the CLI: an error of ours is its message on stderr, never a traceback."""
    write_anything(sys.stdout, sys.stderr)
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


if __name__ == "__main__":
    main()
