"""`./dev diff --offline BASE [HEAD] [--environment NAME]… [--json | --markdown]`, or `python -m stacks.changes …`.

Exits 0 when nothing differs, 2 when something does, 1 with one message when it could not be said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from apx.errors import ApxError
from stacks.changes.model import Report
from stacks.changes.render import markdown, text
from stacks.changes.report import report

DIFFERS = 2


def main(arguments: Sequence[str]) -> int:
    """Print what differs between two sides, the working tree being the second when none is named."""
    given = _parser().parse_args(arguments)
    try:
        found = report(given.base, given.head, given.environment)
    except ApxError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(_rendered(found, given))
    return DIFFERS if found.differs else 0


def _rendered(found: Report, given: argparse.Namespace) -> str:
    if given.json:
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"
    return markdown(found) if given.markdown else text(found)


class _Parser(argparse.ArgumentParser):
    """One that does not exit 2, which says that something differs."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="./dev diff --offline", description="Tell what a change of the stacks would do.")
    parser.add_argument("base", metavar="BASE", help="a commit")
    parser.add_argument("head", metavar="HEAD", nargs="?", help="a commit; without one the working tree")
    parser.add_argument("--environment", metavar="NAME", action="append", default=[], help="all, unless named")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true")
    forms.add_argument("--markdown", action="store_true", help="a comment for a pull request")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
