"""What APX is in Google Cloud, in CDKTF."""

import os
import sys
from pathlib import Path

from stacks.providers import PACKAGES, import_by_module

for _package in PACKAGES:  # before any module of theirs is imported
    import_by_module(_package)

# jsii unpacks 50 MB of JavaScript at each start unless it may keep it. Its Node is the locked one: it warns aloud of
# any that it was not tested with.
os.environ.setdefault("JSII_RUNTIME_PACKAGE_CACHE", "enabled")
os.environ.setdefault("JSII_NODE", str(Path(sys.executable).with_name("node")))
_LAZY = Path(__file__).with_name("lazy_providers.cjs")
os.environ["NODE_OPTIONS"] = f'{os.environ.get("NODE_OPTIONS", "")} --require "{_LAZY}"'.strip()
