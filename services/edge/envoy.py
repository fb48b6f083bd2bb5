"""The process `edge`: becomes Envoy, with the files that it starts from in place. `python -m services.edge.envoy`."""

from __future__ import annotations

import os
import sys

from apx.errors import ApxError
from services.edge.binary import envoy_command
from services.edge.follow import prepare
from services.edge.settings import EdgeSettings


def main() -> None:
    """Replace this process by Envoy; exit with one readable message when it cannot start."""
    try:
        settings = EdgeSettings.load()
        command = envoy_command(settings)
        prepare(settings)
    except ApxError as error:
        sys.stderr.write(f"edge: {error}\n")
        sys.exit(error.exit_code)
    os.execv(command[0], command)  # noqa: S606 -- no shell: the process shall be Envoy, with its pid and its signals


if __name__ == "__main__":
    main()
