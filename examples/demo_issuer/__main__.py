"""Print a token: `python -m examples.demo_issuer SUBJECT --org ORG [--role ROLE …]`."""

from __future__ import annotations

import argparse
import sys
import time

from examples.demo_issuer.tokens import sign_token


def main() -> None:
    """Read the arguments and print one token that is good for an hour."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo_issuer")
    parser.add_argument("subject")
    parser.add_argument("--org", required=True)
    parser.add_argument("--role", action="append", default=[])
    given = parser.parse_args()
    sys.stdout.write(sign_token(given.subject, org=given.org, now=time.time(), roles=given.role) + "\n")


main()
