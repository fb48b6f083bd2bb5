"""`up.py COMMAND …`: the commands of apx.local with small processes in place of the platform's."""

from __future__ import annotations

import sys
from functools import partial

from apx.local import commands
from apx.local.platform import Platform
from tests.unit.local.fakes import small

if __name__ == "__main__":
    start = partial(Platform.start, parts=small())
    sys.exit(commands.main(start=start))
