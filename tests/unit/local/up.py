"""`up.py COMMAND …`: the commands of apx.local with small processes in place of the platform's."""

from __future__ import annotations

import sys
from functools import partial

from apx.local import commands
from apx.local.platform import Platform
from tests.unit.local.fakes import fake_seed, two, unchecked

if __name__ == "__main__":
    small = partial(Platform.start, processes=two, seed=fake_seed, check=unchecked)
    sys.exit(commands.main(start=small))
