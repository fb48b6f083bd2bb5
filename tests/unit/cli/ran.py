"""What a command of `apx` left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


class Ran:
    """What a command left."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]
