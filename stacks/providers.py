"""Imports of the provider packages, a module at a time.

`cdktf_cdktf_provider_google/__init__.py` imports all of its 1,470 submodules: 29 to 39 s and 1.3 GB for a synthesis
that uses sixty. A bare module under the package's name, with its `__path__`, lets each be imported by itself
(docs/adr/0001-cdktf.md).
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("cdktf_cdktf_provider_google", "cdktf_cdktf_provider_kubernetes")


def import_by_module(package: str) -> bool:
    """Put a bare package in the place of one whose `__init__` imports everything; False where it is not installed."""
    spec = PathFinder.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return False
    if package not in sys.modules:
        bare = ModuleType(package)
        bare.__path__ = list(spec.submodule_search_locations)
        bare.__spec__ = spec
        sys.modules[package] = bare
    return True


def prepare_node() -> None:
    """Tell jsii which Node it runs on and what that loads, before it starts one."""
    # jsii unpacks 50 MB of JavaScript at each start unless it may keep it. Its Node is the locked one: it warns aloud
    # of any that it was not tested with.
    os.environ.setdefault("JSII_RUNTIME_PACKAGE_CACHE", "enabled")
    os.environ.setdefault("JSII_NODE", str(Path(sys.executable).with_name("node")))
    lazy = Path(__file__).with_name("lazy_providers.cjs")
    os.environ["NODE_OPTIONS"] = f'{os.environ.get("NODE_OPTIONS", "")} --require "{lazy}"'.strip()
