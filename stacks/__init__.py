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
if (_node := Path(sys.executable).with_name("node")).exists():  # what only starts a synthesis has none
    os.environ.setdefault("JSII_NODE", str(_node))
