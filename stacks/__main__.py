"""Synthesise: `python -m stacks [--environment NAME|FILE] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path

from apx.errors import ApxError
from stacks.deploy.order import read_stacks
from stacks.environment import FOLDER, read_environment


def main() -> int:
    """Read the environment, write its stacks; 1 with one readable message when the environment is wrong."""
    parser = argparse.ArgumentParser(prog="./dev synth", description="Write the Terraform JSON of an environment.")
    parser.add_argument("--environment", default="dev", help="a name in stacks/environments, or a file")
    parser.add_argument("--out", type=Path, default=Path("cdktf.out"))
    given = parser.parse_args()
    path = Path(given.environment)
    try:
        environment = read_environment(path if path.suffix == ".yaml" else FOLDER / f"{given.environment}.yaml")
    except ApxError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    began = time.monotonic()
    gc.disable()  # what is imported stays: looking for garbage in it costs a tenth of all
    from stacks.app import synthesise  # noqa: PLC0415 -- two seconds that a mistake need not wait for

    synthesise(environment, given.out)
    stacks = read_stacks(given.out, environment.name)
    took_s = time.monotonic() - began
    sys.stdout.write(f"{environment.name}: {len(stacks)} stacks in {given.out / 'stacks'}, {took_s:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
