"""`python -m stacks.deploy deploy|diff|image|destroy ENVIRONMENT`, or `./dev deploy` and so on."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from apx.clock import SystemClock
from apx.errors import ApxError
from stacks.deploy.approval import Approval
from stacks.deploy.cloud import Cloud
from stacks.deploy.commands import INTERRUPTED, Processes, interrupts_passed_on
from stacks.deploy.images import ROOT
from stacks.deploy.person import Terminal
from stacks.deploy.session import Session
from stacks.deploy.web import Https
from stacks.environment import FOLDER, read_environment

OUT = ROOT / "cdktf.out"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 one readable message, 2 `diff` found some, 130 interrupted."""
    asked = _parser().parse_args(arguments)
    processes = Processes()
    try:
        with interrupts_passed_on(processes), tempfile.TemporaryDirectory(prefix="apx-plans-") as plans:
            return int(asked.run(asked, _session(asked, processes, Path(plans))))
    except ApxError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def deploy(asked: argparse.Namespace, session: Session) -> int:
    """Bring an environment to its project."""
    if asked.check:
        session.check(session.synthesise(), builds=asked.build, bootstrapped=asked.bootstrap)
        return 0
    done = session.deploy(
        _approval(asked), image=asked.image, build=asked.build, base=asked.base, first=asked.bootstrap
    )
    return 0 if done else 1


def image(_: argparse.Namespace, session: Session) -> int:
    """Build, push and attest the image of this commit; print its name, and hand it to the workflow that asked."""
    built = session.image()
    sys.stdout.write(f"{built}\n")
    if outputs := os.environ.get("GITHUB_OUTPUT"):
        name, digest = built.split("@")
        with Path(outputs).open("a", encoding="utf-8") as file:
            file.write(f"name={name}\ndigest={digest}\n")
    return 0


def diff(asked: argparse.Namespace, session: Session) -> int:
    """Print what would change."""
    found = session.diff(image=asked.image, drift=asked.drift)
    sys.stdout.write(found.markdown(asked.environment) if asked.markdown else f"{found}\n")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(found.markdown(asked.environment))
    return found.exit_code


def destroy(asked: argparse.Namespace, session: Session) -> int:
    """Take an environment away."""
    return 0 if session.destroy(_approval(asked, type_name=True, destroying=True)) else 1


def _approval(asked: argparse.Namespace, *, type_name: bool = False, destroying: bool = False) -> Approval:
    return Approval(
        environment=asked.environment,
        plans=frozenset(asked.approve),
        destroys=frozenset(getattr(asked, "destroys", ())),
        type_name=type_name,
        destroying=destroying,
    )


def _session(asked: argparse.Namespace, processes: Processes, plans: Path) -> Session:
    environment = read_environment(FOLDER / f"{asked.environment}.yaml")
    return Session(
        cloud=Cloud(environment, processes, Https()),
        person=Terminal(),
        clock=SystemClock(),
        pause=time.sleep,
        out=OUT / environment.name,
        plans=plans,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev", description="Bring an environment's stacks to Google Cloud.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    deploying = commands.add_parser("deploy", help="plan, show, ask, apply, and try it")
    deploying.add_argument("--image", default="", metavar="REPO@sha256:…", help="what every pod runs")
    deploying.add_argument("--build", action="store_true", help="build, push and attest this commit's image")
    deploying.add_argument("--base", action="store_true", help="stop before the workloads, which need an image")
    deploying.add_argument("--bootstrap", action="store_true", help="the first time: APIs, bucket, accounts, secrets")
    deploying.add_argument("--check", action="store_true", help="only look whether all is there")
    deploying.add_argument(
        "--destroys", action="append", default=[], metavar="STACK.TYPE.NAME", help="what keeps data and may go"
    )
    differing = commands.add_parser("diff", help="what a deployment would do; exits 2 when it would do something")
    differing.add_argument("--image", default="", metavar="REPO@sha256:…", help="else the one that runs")
    differing.add_argument("--drift", action="store_true", help="what others changed in the cloud instead")
    differing.add_argument("--markdown", action="store_true", help="print Markdown")
    building = commands.add_parser("image", help="build, push and attest this commit's image")
    destroying = commands.add_parser("destroy", help="take everything away that can be had back")
    for one in (deploying, destroying):
        one.add_argument("--approve", action="append", default=[], metavar="DIGEST", help="a plan that was looked at")
    for one, run in ((deploying, deploy), (differing, diff), (building, image), (destroying, destroy)):
        one.add_argument("environment", help="a name in stacks/environments")
        one.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
