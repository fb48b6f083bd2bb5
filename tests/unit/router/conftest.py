from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.router.desk import Desk


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    await desk.open()
    return desk
