"""Imports of the provider packages, a module at a time.

`cdktf_cdktf_provider_google/__init__.py` imports all of its 1,470 submodules: 29 to 39 s and 1.3 GB for a synthesis
that uses sixty. A bare module under the package's name, with its `__path__`, lets each be imported by itself
(docs/adr/0001-cdktf.md).
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType

PACKAGES = ("cdktf_cdktf_provider_google", "cdktf_cdktf_provider_kubernetes")


def import_by_module(package: str) -> None:
    """Put a bare package in the place of one whose `__init__` imports everything; nothing where it is not installed."""
    spec = PathFinder.find_spec(package)
    if package in sys.modules or spec is None or spec.submodule_search_locations is None:
        return
    bare = ModuleType(package)
    bare.__path__ = list(spec.submodule_search_locations)
    bare.__spec__ = spec
    sys.modules[package] = bare
