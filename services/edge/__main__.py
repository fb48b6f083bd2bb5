"""The process `edge-config`: renders Envoy's files as releases become active. Envoy itself runs beside it."""

from __future__ import annotations

import asyncio
import sys

from apx import bootstrap
from apx.errors import ApxError
from apx.telemetry import logs
from services.edge.follow import follow
from services.edge.settings import EdgeSettings


def main() -> int:
    """Run until stopped; 1 with one readable message when it cannot start."""
    try:
        settings = EdgeSettings.load()
        logs.configure("edge-config", settings.log_level)
        asyncio.run(follow(bootstrap.follow_releases(settings), settings))
    except ApxError as error:
        sys.stderr.write(f"edge-config: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        logs.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
