"""`python -m apx.local up|down|status|logs`."""

from __future__ import annotations

import sys

from apx.local.commands import main

if __name__ == "__main__":
    sys.exit(main())
