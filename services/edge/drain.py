"""Lets Envoy's clients go before it is stopped: `python -m services.edge.drain [SECONDS]`.

A pod on its way out still gets requests for the SECONDS that its load balancer needs to notice; then Envoy drains.
"""

from __future__ import annotations

import asyncio
import sys
import time

from apx.errors import ApxError
from services.edge.admin import drain
from services.edge.settings import EdgeSettings


def main(arguments: list[str]) -> int:
    """Wait, drain, and return 0 also when requests are left: whoever asked stops Envoy in any case."""
    try:
        settings = EdgeSettings.load()
    except ApxError as error:
        sys.stderr.write(f"edge: {error}\n")
        return error.exit_code
    time.sleep(float(arguments[0]) if arguments else 0)
    if not asyncio.run(drain(settings)):
        sys.stderr.write(f"edge: requests were still under way after {settings.edge_drain_s} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
