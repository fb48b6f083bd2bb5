"""A backend client that answers from a script: statuses, bodies or failures, one for each call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from apx.requests.execution_call import BackendAnswer, BackendFailure, BackendRequest, Headers


class Answer(msgspec.Struct):
    """One scripted answer."""

    status: int = 200
    headers: Headers = ()
    pieces: tuple[bytes, ...] = ()

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


class ScriptedClient:
    """`BackendClient` by script; the last line is repeated."""

    def __init__(self, *script: Answer | BackendFailure) -> None:
        self._script = list(script)
        self.requests: list[BackendRequest] = []

    @asynccontextmanager
    async def call(self, request: BackendRequest) -> AsyncIterator[BackendAnswer]:
        self.requests.append(request)
        line = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(line, BackendFailure):
            raise line
        yield line
