from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apx.local.folder import Folder
from apx.local.leftovers import leftovers
from apx.local.platform import Platform, isolated, stop
from tests.unit.local.fakes import small


@pytest.fixture
def home() -> Iterator[Path]:
    """A data folder with a path short enough for sockets; whatever runs in it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    yield folder
    stop(Folder(folder), within_s=5)
    left = leftovers(folder)
    shutil.rmtree(folder)
    assert not left


@pytest.fixture
def platform(home: Path) -> Platform:
    return Platform.start(isolated(home), parts=small())
